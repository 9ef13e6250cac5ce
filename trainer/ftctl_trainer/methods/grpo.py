"""Group relative policy optimization (arXiv:2402.03300) by TRL."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from ftctl.contract.spec import GrpoConfig, TrainingConfig
from ftctl.estimate.steps import grpo_steps
from ftctl_trainer.data.prompts import Prompt
from ftctl_trainer.generate import greedy_answers
from ftctl_trainer.methods.method import OverRows, Told, dataset, drop_reference, longest
from ftctl_trainer.methods.progress import Progress
from ftctl_trainer.methods.rewards import Rewards
from ftctl_trainer.model.fast.decode import answers, sampled
from ftctl_trainer.model.fast.install import fast_model

# Held-out prompts that are answered at every look, and how many at once.
MEASURED = 64
_AT_ONCE = 16


@dataclass(frozen=True)
class Grpo(OverRows):
    """
    Learning by rewards of the model's own answers.

    `stop_ids` end an answer. `continues`: training starts from an adapter, which is then the
    reference; else the base is.
    """

    training: TrainingConfig
    settings: GrpoConfig
    rewards: Rewards
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    tokenizer: Any
    stop_ids: Sequence[int]
    continues: bool = False

    @property
    def lengths(self) -> list[int]:
        """Tokens of every prompt with the longest answer there may be."""
        return [len(prompt.ids) + self.settings.completion_tokens for prompt in self.prompts]

    def pass_lengths(self, world: int) -> list[int]:
        """Tokens of the answers to the longest prompts, each of which has several."""
        return longest(self.lengths * self.settings.num_generations, self.batch_rows(world))

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return grpo_steps(self.training, len(self.prompts), self.settings.num_generations)

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the prompts."""
        settings = self.settings
        trainer = RewardTrainer(
            model=model,
            reward_funcs=self._reward,
            args=GRPOConfig(
                **arguments,
                beta=settings.beta,
                num_generations=settings.num_generations,
                num_generations_eval=1,  # held-out prompts are answered by `scores`
                max_completion_length=settings.completion_tokens,
                shuffle_dataset=arguments["train_sampling_strategy"] != "sequential",
                generation_kwargs={"use_cache": settings.use_cache},
            ),
            train_dataset=_numbered(self.prompts),
            eval_dataset=_numbered(self.held_out) if self.held_out else None,
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        if not self.continues:
            drop_reference(model)
        trainer.eos_token_ids = list(self.stop_ids)
        trainer.generation_config.eos_token_id = list(self.stop_ids)
        trainer.generation_kwargs["eos_token_id"] = list(self.stop_ids)
        trainer.tokens_of = {prompt.text: prompt.ids for prompt in self.prompts}
        trainer.pass_tokens = self.pass_tokens(progress.group.world)
        trainer.progress, trainer.look = progress, lambda: self.scores(model, trained=True)
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """Mean reward of the most likely answers to the held-out prompts."""
        if not self.held_out:
            return {}
        answers = greedy_answers(
            model,
            [prompt.ids for prompt in self.held_out],
            max_new_tokens=self.settings.completion_tokens,
            batch_size=_AT_ONCE,
            stop_ids=self.stop_ids,
            pad_id=self.tokenizer.pad_token_id,
        )
        totals = [
            self.rewards.total(self._text(ids), len(ids), prompt.row)
            for ids, prompt in zip(answers, self.held_out, strict=True)
        ]
        return {"reward": math.fsum(totals) / len(totals)}

    def _reward(
        self,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        number: Sequence[int],
        **_: Any,
    ) -> list[float]:
        """TRL's form of a reward; `number` is the prompts' column."""
        stops = set(self.stop_ids)
        return [
            self.rewards.total(
                text, sum(token not in stops for token in ids), self.prompts[place].row
            )
            for text, ids, place in zip(completions, completion_ids, number, strict=True)
        ]

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


class RewardTrainer(Told, GRPOTrainer):  # type: ignore[misc]
    """Counts what TRL computes; prompts come tokenized, and in an order that an epoch decides."""

    tokens_of: Mapping[str, list[int]]
    pass_tokens: int

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return a forward pass's share of the step's loss."""
        loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        share, seen = 1 / self.current_gradient_accumulation_steps, self._metrics["train"]
        measures = {"reward": seen["reward"][-1], "kl": seen["kl"][-1] if self.beta else 0.0}
        measures["completion_tokens"] = seen["completions/mean_length"][-1]
        self.progress.add(
            loss.detach(),
            inputs["prompt_mask"].sum() + inputs["completion_mask"].sum(),
            **{name: value * share for name, value in measures.items()},
        )
        return loss

    def _generate_single_turn(self, prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        """Answers by the fast layers, where there are any."""
        fast = fast_model(self.model)
        if fast is None or not self.generation_kwargs["use_cache"]:
            return super()._generate_single_turn(prompt_ids, *rest, **more)
        found = answers(
            fast,
            prompt_ids,
            most=self.max_completion_length,
            at_once=self.pass_tokens,
            stop_ids=self.eos_token_ids,
            choose=sampled(self.temperature),
        )
        return found, None

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Tokens of our own making: the tokenizer would begin the text a second time."""
        return [self.tokens_of[prompt] for prompt in prompts], None, {}

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's sampler, whose order in an epoch does not depend on the epochs before."""
        whole = super()._get_train_sampler(dataset)
        return EpochSampler(
            data_source=whole.data_source,
            mini_repeat_count=whole.mini_repeat_count,
            batch_size=whole.batch_size,
            repeat_count=whole.repeat_count,
            shuffle=whole.shuffle,
            seed=whole.seed,
        )


class EpochSampler(RepeatSampler):  # type: ignore[misc]
    """A run that resumes in a later epoch meets the prompts that it would have met."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()


def _numbered(prompts: Sequence[Prompt]) -> Any:
    return dataset([{"prompt": prompt.text, "number": n} for n, prompt in enumerate(prompts)])
