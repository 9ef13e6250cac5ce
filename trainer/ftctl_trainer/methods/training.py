"""One SFT training, from the newest checkpoint to the last step."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from ftctl_trainer.checkpoints import Checkpoints
from ftctl_trainer.context import StageContext
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.methods.progress import Counters, Progress
from ftctl_trainer.methods.sft import sft_arguments, sft_trainer
from ftctl_trainer.model.activations import recomputes
from ftctl_trainer.model.precision import Precision
from ftctl_trainer.rows import RunRows
from ftctl_trainer.stop import end_if_stopped

_log = logging.getLogger(__name__)


def train_sft(
    ctx: StageContext, tuned: Any, tokenizer: Any, rows: RunRows, precision: Precision
) -> None:
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
    checkpoints.discard_incomplete()
    start = workdir / "resume"
    done = checkpoints.download_newest(start)
    counters = Counters.read(start) if done is not None else Counters()
    ctx.reporter.rewind(done or 0)
    progress = Progress(ctx.reporter, checkpoints, ctx.stop, counters)
    held_out = [rows.eval_tokens[number] for number in range(len(rows.eval_tokens))]
    trainer = sft_trainer(
        tuned,
        sft_arguments(
            training,
            precision=precision,
            shuffle=ctx.run.config.dataset.shuffle,
            evaluates=bool(held_out),
            recomputes=recomputes(
                training.gradient_checkpointing,
                tuned,
                [len(row) for row in rows.train_tokens.input_ids],
                training.per_device_train_batch_size,
            ),
            output_dir=workdir / "training",
        ),
        rows=[rows.train_tokens[number] for number in range(len(rows.train_tokens))],
        held_out=held_out,
        collate=Collator(tokenizer.pad_token_id),
        tokenizer=tokenizer,
        progress=progress,
    )
    if done is not None:
        ctx.reporter.event("resumed", step=done)
        _log.info("going on from the checkpoint of step %d", done)
    total = _total_steps(trainer.args, len(rows.train_tokens))
    if done is not None and done >= total:
        load_weights(tuned, start)
        ctx.reporter.progress(done, total)
    else:
        trainer.train(resume_from_checkpoint=str(start) if done is not None else None)
    checkpoints.flush()
    if trainer.state.global_step < total and (done or 0) < total:
        end_if_stopped(ctx.stop, saved=f"a checkpoint of step {trainer.state.global_step} is saved")
    if training.load_best and counters.best_step is not None:
        _take_best(checkpoints, tuned, counters, workdir / "best")


def load_weights(tuned: Any, checkpoint: Path) -> None:
    """Put a checkpoint's adapter into the model."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(tuned, load_peft_weights(str(checkpoint), device="cpu"))


def _take_best(checkpoints: Checkpoints, tuned: Any, counters: Counters, folder: Path) -> None:
    best = counters.best_step
    assert best is not None
    if best not in checkpoints.steps():
        _log.info("the lowest held-out loss was at step %d, which has no checkpoint", best)
        return
    checkpoints.download(best, folder)
    load_weights(tuned, folder)
    _log.info("publishing step %d, whose held-out loss is lowest: %.4f", best, counters.best_loss)


def _total_steps(arguments: Any, rows: int) -> int:
    """Optimizer steps of the whole training, as transformers' Trainer counts them."""
    if arguments.max_steps > 0:
        return int(arguments.max_steps)
    batch = arguments.per_device_train_batch_size * max(arguments.world_size, 1)
    per_epoch = math.ceil(math.ceil(rows / batch) / arguments.gradient_accumulation_steps)
    steps: int = math.ceil(arguments.num_train_epochs * per_epoch)
    return max(1, steps)
