"""Whether the training made the model worse, which no exception tells."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.layout import RunLayout
from ftctl.contract.spec import Method
from ftctl.contract.status import Metrics
from ftctl.storage.base import Store
from ftctl_trainer.evaluation_file import stored_evaluation
from ftctl_trainer.journal import Journal

DIVERGED_HINT = "Try a lower training.learning_rate, or more training.warmup_steps."


def made_worse(
    evaluation: Evaluation | None, metrics: Sequence[Metrics], method: Method = "sft"
) -> str | None:
    """
    Say by which losses a model is worse after training than before, or return None.

    The loss on held-out rows decides; without one, the first and the last training loss. Both
    preferences and rewards may be learnt at the cost of the held-out answers' likelihood: of DPO,
    ORPO and KTO their own loss decides, and GRPO's tells nothing, as it is taken over what the
    model wrote.
    """
    if method == "grpo":
        return None
    losses = [line.loss for line in metrics if line.loss is not None]
    before, after, of = (losses[0], losses[-1], "training") if losses else (None, None, "")
    scored = evaluation if method == "sft" else None
    if scored and scored.before and scored.after and scored.before.loss is not None:
        before, after, of = scored.before.loss, scored.after.loss, "held-out"
    if before is None or after is None or after <= before:
        return None
    return (
        f"training made the model worse, so it seems to have diverged: {of} loss {before:.4f} "
        f"before, {after:.4f} after"
    )


def what_training_did(store: Store, keys: RunLayout, method: Method) -> str | None:
    """The same of a run, from what the store has of it. Raises StorageError."""
    metrics = Journal(store, keys.metrics, Metrics).lines(Metrics)
    return made_worse(stored_evaluation(store, keys), metrics, method)
