"""Whether the training made the model worse, which no exception tells."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.layout import RunLayout
from ftctl.contract.status import Metrics
from ftctl.storage.base import Store
from ftctl_trainer.evaluation_file import stored_evaluation
from ftctl_trainer.journal import Journal

DIVERGED_HINT = "Try a lower training.learning_rate, or more training.warmup_steps."


def made_worse(evaluation: Evaluation | None, metrics: Sequence[Metrics]) -> str | None:
    """
    Say by which losses a model is worse after training than before, or return None.

    The loss on held-out rows decides; without one, the first and the last training loss.
    """
    losses = [line.loss for line in metrics if line.loss is not None]
    before, after, of = (losses[0], losses[-1], "training") if losses else (None, None, "")
    if evaluation and evaluation.before and evaluation.after and evaluation.before.loss is not None:
        before, after, of = evaluation.before.loss, evaluation.after.loss, "held-out"
    if before is None or after is None or after <= before:
        return None
    return (
        f"training made the model worse, so it seems to have diverged: {of} loss {before:.4f} "
        f"before, {after:.4f} after"
    )


def what_training_did(store: Store, keys: RunLayout) -> str | None:
    """The same of a run, from what the store has of it. Raises StorageError."""
    metrics = Journal(store, keys.metrics, Metrics).lines(Metrics)
    return made_worse(stored_evaluation(store, keys), metrics)
