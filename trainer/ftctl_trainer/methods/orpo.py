"""Odds ratio preference optimization (arXiv:2403.07691), on TRL's trainer of pairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ftctl_trainer.data.chat import IGNORED
from ftctl_trainer.methods.method import drop_reference
from ftctl_trainer.methods.pairs import Pairs, PairTrainer, share
from ftctl_trainer.methods.progress import Progress


class Orpo(Pairs):
    """Learning the better answer, and to prefer it; there is no reference."""

    def trainer(self, model: Any, arguments: dict[str, Any], progress: Progress) -> Any:
        """Build the trainer over the tokenized pairs."""
        trainer = self.pair_trainer(
            OddsRatioTrainer, model, arguments, progress, lambda: self._measures(model)
        )
        drop_reference(model)
        return trainer

    def scores(self, model: Any, *, trained: bool) -> dict[str, float]:
        """What the held-out pairs say of a model, by the names that Scores has for it."""
        if not self.held_out:
            return {}
        return {"chosen_likelier": self._measures(model)["preference_accuracy"]}

    def _measures(self, model: Any) -> dict[str, float]:
        chosen, rejected = (
            log_probs / torch.tensor([sum(label != IGNORED for label in row[1:]) for row in labels])
            for log_probs, labels in zip(
                self.log_probs(model),
                (
                    [pair.chosen.labels for pair in self.held_out],
                    [pair.rejected.labels for pair in self.held_out],
                ),
                strict=True,
            )
        )
        return {
            "loss": float(odds_ratio_loss(chosen, rejected, self.beta)),
            "preference_accuracy": share(chosen > rejected),
            "reward_margin": float(self.beta * (chosen - rejected).mean()),
        }


class OddsRatioTrainer(PairTrainer):
    """Puts ORPO's loss in the place of DPO's; TRL's own ORPOTrainer is among its experiments."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the mean loss of a forward pass's pairs, nats."""
        answers = inputs["completion_mask"]
        log_probs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=inputs["input_ids"].masked_fill(answers == 0, IGNORED),
            use_cache=False,
            fused_lm_head=True,
        ).log_probs
        chosen, rejected = (log_probs.sum(1) / answers[:, 1:].sum(1)).chunk(2)
        loss = odds_ratio_loss(chosen, rejected, self.beta)
        part = 1 / self.current_gradient_accumulation_steps
        gap = (chosen - rejected).detach()
        self.progress.add(
            loss.detach() * part,
            inputs["attention_mask"].sum(),
            preference_accuracy=share(gap > 0) * part,
            reward_margin=self.beta * float(gap.mean()) * part,
        )
        return loss


def odds_ratio_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """
    Mean over pairs of -log p(chosen) - beta log sigmoid(log odds(chosen) - log odds(rejected)).

    Source: arXiv:2403.07691, equations 3 to 7, with p the geometric mean over an answer's tokens
    and odds = p / (1 - p). The first term is of the answer alone, as SFT's is.

    Args:
        chosen: mean log-probability of a token of the better answers, nats, [pairs].
        rejected: the same of the worse ones.
        beta: weight of the odds ratio, lambda in the paper.
    """
    log_ratio = _log_odds(chosen) - _log_odds(rejected)
    return (-chosen - beta * torch.nn.functional.logsigmoid(log_ratio)).mean()


def _log_odds(log_p: Tensor) -> Tensor:
    # An answer that is certain has infinite odds, and no gradient.
    log_p = log_p.float().clamp(max=-1e-6)
    return log_p - torch.log(-torch.expm1(log_p))
