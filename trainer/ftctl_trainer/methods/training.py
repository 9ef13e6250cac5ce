"""One training, whatever its method: from the newest checkpoint to the last step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftctl.contract.training import TrainingConfig
from ftctl_trainer.checkpoints import Checkpoints
from ftctl_trainer.context import StageContext
from ftctl_trainer.methods.arguments import common_arguments
from ftctl_trainer.methods.method import Method
from ftctl_trainer.methods.progress import Counters, Progress
from ftctl_trainer.model.activations import recomputes
from ftctl_trainer.model.fast.install import fast_model
from ftctl_trainer.model.fast.plan import keep_what_fits
from ftctl_trainer.model.lora import load_weights, trainable
from ftctl_trainer.model.precision import Precision
from ftctl_trainer.processes.group import Group
from ftctl_trainer.stop import end_if_stopped

_log = logging.getLogger(__name__)


def train(ctx: StageContext, tuned: Any, method: Method, precision: Precision) -> None:
    """
    Train in place; `tuned` ends with the weights to publish.

    Raises:
        RunFailedError: the loss is no number.
        StoppedError: a stop was asked for, and its checkpoint is in the store.
        StorageError: a checkpoint could not be uploaded.
    """
    training, workdir = ctx.run.config.training, ctx.workdir
    checkpoints = Checkpoints(
        ctx.store, ctx.layout, ctx.reporter, ctx.lease, limit=training.save_total_limit
    )
    group = ctx.group
    start = workdir / "resume"
    done = _fetched(checkpoints, start, group)
    counters = Counters.read(start) if done is not None else Counters()
    ctx.reporter.rewind(done or 0)
    total = method.steps
    finished = done is not None and (done >= total or counters.stopped_early)
    recomputes = not finished and _plan_memory(training, tuned, method, group)
    trainer = _built(
        tuned,
        lambda: method.trainer(
            tuned,
            common_arguments(
                training,
                precision=precision,
                shuffle=ctx.run.config.dataset.shuffle,
                evaluates=method.evaluates,
                recomputes=recomputes,
                output_dir=workdir / "training",
                world=group.world,
            ),
            Progress(ctx.reporter, checkpoints, ctx.stop, counters, training.early_stopping, group),
        ),
    )
    if done is not None:
        ctx.reporter.event("resumed", step=done)
        _log.info("going on from the checkpoint of step %d", done)
    trainer.loraplus_ratio = training.loraplus_ratio
    if done is not None and finished:
        load_weights(tuned, start)
        ctx.reporter.progress(done, total)
    else:
        with checkpoints.uploaded():
            trainer.train(resume_from_checkpoint=str(start) if done is not None else None)
    _free_memory(tuned)
    group.wait()  # until all checkpoints are in the store
    if trainer.state.global_step < total and (done or 0) < total and not counters.stopped_early:
        end_if_stopped(ctx.stop, saved=f"a checkpoint of step {trainer.state.global_step} is saved")
    if training.load_best and counters.best_step is not None:
        _take_best(checkpoints, tuned, counters, workdir / "best")


def _fetched(checkpoints: Checkpoints, folder: Path, group: Group) -> int | None:
    """Fetch the newest checkpoint, the same one in every process; return its step, or None."""
    if group.first:
        checkpoints.discard_incomplete()
    done = group.from_first(lambda: checkpoints.download_newest(folder))
    if done is not None and not group.first:
        checkpoints.download(done, folder)
    return done


def _plan_memory(training: TrainingConfig, tuned: Any, method: Method, group: Group) -> bool:
    """Decide what is kept for the backward pass; return whether the trainer is to recompute."""
    setting, fast = training.gradient_checkpointing, fast_model(tuned)
    if fast is None:
        if setting == "offload":
            _log.info(
                "training.gradient_checkpointing=offload is for the fast layers on a GPU, which "
                "this run has not: all activations are computed again, as with true"
            )
        return group.from_first(
            lambda: recomputes(setting, tuned, method.lengths, method.batch_rows(group.world))
        )
    # Other methods hold logits of all tokens, and some generate.
    keep_what_fits(
        fast,
        setting,
        method.pass_tokens(group.world),
        others=0.0 if training.method == "sft" else 0.4,
        lengths=method.pass_lengths(group.world) if setting == "offload" else (),
        processes=group.here,
    )
    return False


def _free_memory(tuned: Any) -> None:
    """Give back the main memory that only training wants."""
    fast = fast_model(tuned)
    if fast is not None:
        fast.main_memory = None


def _built(tuned: Any, build: Callable[[], Any]) -> Any:
    """
    Build a trainer, and undo what TRL does to the weights and the output.

    TRL rounds the trainable weights of a quantized model to bfloat16; small updates would be lost
    in it, and the gradient scaler refuses them.
    """
    from transformers import PrinterCallback

    before = {name: weight.data for name, weight in trainable(tuned).items()}
    trainer = build()
    trainer.remove_callback(PrinterCallback)
    for name, weight in trainable(tuned).items():
        weight.data = before[name]
    return trainer


def _take_best(checkpoints: Checkpoints, tuned: Any, counters: Counters, folder: Path) -> None:
    best = counters.best_step
    assert best is not None
    if best not in checkpoints.steps():
        _log.info("the lowest held-out loss was at step %d, which has no checkpoint", best)
        return
    checkpoints.download(best, folder)
    load_weights(tuned, folder)
    _log.info("publishing step %d, whose held-out loss is lowest: %.4f", best, counters.best_loss)
