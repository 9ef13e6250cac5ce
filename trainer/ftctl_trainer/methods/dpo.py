"""Direct preference optimization (arXiv:2305.18290) by TRL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import use_adapter

from ftctl_trainer.methods.method import drop_reference, reference_of
from ftctl_trainer.methods.pairs import Pairs, PairTrainer, share
from ftctl_trainer.methods.progress import Progress


@dataclass(frozen=True)
class Dpo(Pairs):
    """
    Learning to prefer the better of two answers.

    `continues`: training starts from an adapter, which is then the reference; else the base is.
    """

    continues: bool = False

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized pairs."""
        trainer = self.pair_trainer(
            PreferenceTrainer, model, arguments, progress, lambda: self._measures(model)
        )
        if not self.continues:
            drop_reference(model)
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """What the held-out pairs say of a model, by the names that Scores has for it."""
        if not self.held_out:
            return {}
        if not trained:
            return {"chosen_likelier": share(self._differences(model) > 0)}
        measures = self._measures(model)
        del measures["loss"]
        return {**measures, "chosen_likelier": share(self._differences(model) > 0)}

    def _measures(self, model: Any) -> dict[str, float]:
        tuned = self._differences(model)
        with use_adapter(model, reference_of(model)):
            margins = self.beta * (tuned - self._differences(model))
        return {
            "loss": float(-torch.nn.functional.logsigmoid(margins).mean()),
            "preference_accuracy": share(margins > 0),
            "reward_margin": float(margins.mean()),
        }

    def _differences(self, model: Any) -> torch.Tensor:
        """Log p(chosen) - log p(rejected) of every held-out pair, nats."""
        chosen, rejected = self.log_probs(model)
        return chosen - rejected


class PreferenceTrainer(PairTrainer):
    """Counts what TRL computes."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the mean loss of a forward pass's pairs, nats."""
        loss = super().compute_loss(model, inputs, False, num_items_in_batch)
        part, seen = 1 / self.current_gradient_accumulation_steps, self._metrics["train"]
        self.progress.add(
            loss.detach() * part,
            inputs["attention_mask"].sum(),
            preference_accuracy=seen["rewards/accuracies"][-1] * part,
            reward_margin=seen["rewards/margins"][-1] * part,
        )
        return loss
