"""Direct preference optimization (arXiv:2305.18290) by TRL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import use_adapter

from ftctl.contract.spec import TrainingConfig
from ftctl.estimate.steps import steps_of
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.data.pairs import Pair
from ftctl_trainer.methods.method import Told, dataset, drop_reference
from ftctl_trainer.methods.progress import REFERENCE, Progress
from ftctl_trainer.model.labels import row_log_probs

_MEASURED_PAIRS = 8


@dataclass(frozen=True)
class Dpo:
    """
    Learning to prefer the better of two answers.

    `continues`: training starts from an adapter, which is then the reference; else the base is.
    """

    training: TrainingConfig
    beta: float
    pairs: Sequence[Pair]
    held_out: Sequence[Pair]
    tokenizer: Any
    continues: bool = False

    @property
    def lengths(self) -> list[int]:
        """Tokens of the longer conversation of every pair."""
        return [
            max(len(pair.chosen.input_ids), len(pair.rejected.input_ids)) for pair in self.pairs
        ]

    @property
    def batch_rows(self) -> int:
        """Both answers of a pair go through the model."""
        return 2 * self.training.per_device_train_batch_size

    @property
    def evaluates(self) -> bool:
        """Whether there are held-out pairs."""
        return bool(self.held_out)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return steps_of(self.training, len(self.pairs))

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized pairs."""
        trainer = PreferenceTrainer(
            model=model,
            args=DPOConfig(**arguments, beta=self.beta, max_length=None),
            train_dataset=dataset([pair.row() for pair in self.pairs]),
            eval_dataset=dataset([pair.row() for pair in self.held_out]) if self.held_out else None,
            processing_class=self.tokenizer,
            callbacks=[progress],
        )
        if not self.continues:
            drop_reference(model)
        trainer.progress, trainer.look = progress, lambda: self._measures(model)
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """What the held-out pairs say of a model, by the names that Scores has for it."""
        if not self.held_out:
            return {}
        if not trained:
            return {"chosen_likelier": _share(_answers(model, self) > 0)}
        measures = self._measures(model)
        del measures["loss"]
        return {**measures, "chosen_likelier": _share(_answers(model, self) > 0)}

    def _measures(self, model: Any) -> dict[str, float]:
        reference = REFERENCE if REFERENCE in model.peft_config else None
        tuned = _answers(model, self)
        with use_adapter(model, reference):
            margins = self.beta * (tuned - _answers(model, self))
        return {
            "loss": float(-torch.nn.functional.logsigmoid(margins).mean()),
            "preference_accuracy": _share(margins > 0),
            "reward_margin": float(margins.mean()),
        }


class PreferenceTrainer(Told, DPOTrainer):  # type: ignore[misc]
    """Counts what TRL computes; held-out pairs are all weighted alike."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """Rows come tokenized, by the same code as those of every other method."""
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean loss of a forward pass's pairs, nats."""
        loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        share, seen = 1 / self.current_gradient_accumulation_steps, self._metrics["train"]
        self.progress.add(
            loss.detach() * share,
            inputs["attention_mask"].sum(),
            preference_accuracy=seen["rewards/accuracies"][-1] * share,
            reward_margin=seen["rewards/margins"][-1] * share,
        )
        return loss


def _answers(model: Any, method: Dpo) -> torch.Tensor:
    """log p(chosen) - log p(rejected) of every held-out pair, nats."""
    collate = Collator(method.tokenizer.pad_token_id)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    differences = []
    with torch.no_grad():
        for start in range(0, len(method.held_out), _MEASURED_PAIRS):
            pairs = method.held_out[start : start + _MEASURED_PAIRS]
            both = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
            batch = collate([vars(encoded) for encoded in both])
            chosen, rejected = row_log_probs(
                model, {name: tensor.to(device) for name, tensor in batch.items()}
            ).chunk(2)
            differences.append((chosen - rejected).cpu())
    model.train(was_training)
    return torch.cat(differences)


def _share(values: torch.Tensor) -> float:
    return float(values.float().mean())
