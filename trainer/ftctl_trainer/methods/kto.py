"""Kahneman-Tversky optimization (arXiv:2402.01306) by TRL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference
from trl.trainer.utils import use_adapter

from ftctl.contract.spec import KtoConfig, TrainingConfig
from ftctl_trainer.data.answers import Answer, answer_start, cut
from ftctl_trainer.data.chat import Encoded
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.methods.method import OverRows, Told, dataset, drop_reference, reference_of
from ftctl_trainer.methods.pairs import share
from ftctl_trainer.methods.progress import Progress
from ftctl_trainer.model.labels import held_out_log_probs

_MEASURED_ROWS = 16


@dataclass(frozen=True)
class Kto(OverRows):
    """
    Learning from single answers that are called good or bad.

    `continues`: training starts from an adapter, which is then the reference; else the base is.
    """

    training: TrainingConfig
    settings: KtoConfig
    answers: Sequence[Answer]
    held_out: Sequence[Answer]
    tokenizer: Any
    continues: bool = False

    @property
    def lengths(self) -> list[int]:
        """Tokens of every conversation."""
        return [len(answer.encoded.input_ids) for answer in self.answers]

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized answers."""
        settings = self.settings
        trainer = AnswerTrainer(
            model=model,
            args=KTOConfig(
                # TRL wants one order for good, as it mismatches rows once. Here batches are.
                **{**arguments, "train_sampling_strategy": "sequential"},
                beta=settings.beta,
                desirable_weight=settings.desirable_weight,
                undesirable_weight=settings.undesirable_weight,
                max_length=None,
            ),
            data_collator=MismatchingCollator(
                self.tokenizer.pad_token_id, self.training.max_seq_length
            ),
            train_dataset=dataset([answer.row() for answer in self.answers]),
            eval_dataset=dataset([row.row() for row in self.held_out]) if self.held_out else None,
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        trainer.args.train_sampling_strategy = arguments["train_sampling_strategy"]
        if not self.continues:
            drop_reference(model)
        trainer.progress, trainer.look = progress, lambda: self._measures(model)
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """What the held-out answers say of a model, by the names that Scores has for it."""
        if not self.held_out or not trained:
            return {}
        measures = self._measures(model)
        del measures["loss"]
        return measures

    def _measures(self, model: Any) -> dict[str, float]:
        settings, rows = self.settings, [answer.encoded for answer in self.held_out]
        others = mismatched(rows, self.training.max_seq_length)
        tuned, elsewhere = self._log_probs(model, rows), self._log_probs(model, others)
        with use_adapter(model, reference_of(model)):
            gains = tuned - self._log_probs(model, rows)
            kl = (elsewhere - self._log_probs(model, others)).mean().clamp(min=0)
        good = torch.tensor([answer.good for answer in self.held_out])
        sign = torch.where(good, 1.0, -1.0)
        weight = torch.where(good, settings.desirable_weight, settings.undesirable_weight)
        values = torch.sigmoid(settings.beta * sign * (gains - kl))
        return {
            "loss": float((weight * (1 - values)).mean()),
            "moved_right": share(sign * gains > 0),
            "reward_margin": float(settings.beta * (sign * gains).mean()),
        }

    def _log_probs(self, model: Any, rows: Sequence[Encoded]) -> Tensor:
        collate = Collator(self.tokenizer.pad_token_id)
        return held_out_log_probs(
            model, [vars(row) for row in rows], collate, batch_size=_MEASURED_ROWS
        )


class AnswerTrainer(Told, KTOTrainer):  # type: ignore[misc]
    """Counts what TRL computes; held-out answers are all weighted by their label alone."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """Rows come tokenized, by the same code as those of every other method."""
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the mean loss of a forward pass's answers."""
        loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        part, seen = 1 / self.current_gradient_accumulation_steps, self._metrics["train"]
        rows = len(inputs["label"])
        good = int(inputs["label"].sum())
        moved = good * seen["rewards/chosen"][-1] if good else 0.0
        moved -= (rows - good) * seen["rewards/rejected"][-1] if good < rows else 0.0
        self.progress.add(
            loss.detach() * part,
            inputs["attention_mask"].sum(),
            reward_margin=moved / rows * part,
            kl=seen["kl"][-1] * part,
        )
        return loss


class MismatchingCollator:
    """Pads a batch, with each prompt a second time before the answer of the row before it."""

    def __init__(self, pad_id: int, max_length: int) -> None:
        self._pad = DataCollatorForUnpairedPreference(pad_token_id=pad_id, max_length=max_length)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return what TRL's loss takes; what is there for KL begins with `KL_`."""
        before = [rows[-1], *rows[:-1]]
        batch: dict[str, Tensor] = self._pad(
            [
                {**row, "KL_completion_ids": other["completion_ids"]}
                for row, other in zip(rows, before, strict=True)
            ]
        )
        return batch


def mismatched(rows: Sequence[Encoded], max_length: int) -> list[Encoded]:
    """Each row's prompt with the answer of the row before, the first with the last one's."""
    found = []
    for row, other in zip(rows, [*rows[-1:], *rows[:-1]], strict=True):
        start, theirs = answer_start(row), answer_start(other)
        ids = row.input_ids[:start] + other.input_ids[theirs:]
        labels = row.labels[:start] + other.labels[theirs:]
        found.append(cut(Encoded(ids, labels), max_length))
    return found
