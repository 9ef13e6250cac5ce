"""What the training loop tells: metrics, checkpoints, a loss that is no number, a stop."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from transformers import TrainerCallback

from ftctl.contract.status import Metrics
from ftctl.errors import RunFailedError
from ftctl_trainer.checkpoints import Checkpoints
from ftctl_trainer.context import Reporter
from ftctl_trainer.model.lora import trainable
from ftctl_trainer.processes.group import ALONE, Group
from ftctl_trainer.processes.random_states import gather_random_states

_log = logging.getLogger(__name__)

T = TypeVar("T")

# The adapter that TRL copies from the one to train, as the reference of DPO, KTO and GRPO.
REFERENCE = "ref"
STATE_FILE = "ftctl.json"
# The trainer writes these beside the state; a resume reads neither, and one holds local paths.
_LEFT_OUT = ("training_args.bin", "README.md")


@dataclass
class Counters:
    """What goes on across a resume, beside the trainer's own state."""

    real_tokens: int = 0
    loss_sum: float = 0.0
    """Of the steps since the last logged line."""
    steps_since_log: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Of the method's own measures, over the same steps."""
    best_loss: float | None = None
    best_step: int | None = None
    looks_since_best: int = 0
    stopped_early: bool = False

    @classmethod
    def read(cls, checkpoint: Path) -> Counters:
        """Read them from a checkpoint's folder."""
        return cls(**json.loads((checkpoint / STATE_FILE).read_text()))


class Progress(TrainerCallback):  # type: ignore[misc]
    """Follows one training. Between logged steps no tensor is read on a GPU: a read waits."""

    def __init__(
        self,
        reporter: Reporter,
        checkpoints: Checkpoints,
        stop: Event,
        counters: Counters,
        patience: int | None = None,
        group: Group = ALONE,
    ) -> None:
        """
        Args:
            counters: where an earlier attempt left off.
            patience: looks at the held-out rows without a gain after which training ends.
            group: the processes that train together; each has a Progress, with equal counters.
        """
        self.group = group
        self._patience = patience
        self._reporter, self._checkpoints, self._stop = reporter, checkpoints, stop
        self.counters = counters
        self._loss: Any = 0.0
        self._tokens: Any = 0
        self._since = time.monotonic()
        self._tokens_at_log = counters.real_tokens
        self._steps_timed = 0

    def add(self, loss: Any, real_tokens: Any, **measures: float) -> None:
        """
        Count a forward pass.

        Args:
            loss: its share of the step's loss, times the number of processes.
            real_tokens: its tokens without padding.
            measures: its shares of fields of Metrics that the method knows.
        """
        self._loss = self._loss + loss
        self._tokens = self._tokens + real_tokens
        for name, value in measures.items():
            self.counters.sums[name] = self.counters.sums.get(name, 0.0) + value

    def evaluated(
        self, step: int, epoch: float, measures: Mapping[str, float], seconds: float
    ) -> None:
        """Take in what was measured on held-out rows, and leave its time out of the pace."""
        self._since += seconds
        # Of rewards more is better.
        loss = measures["loss"] if "loss" in measures else -measures["reward"]
        if self.counters.best_loss is None or loss < self.counters.best_loss:
            self.counters.best_loss, self.counters.best_step = loss, step
            self.counters.looks_since_best = 0
        else:
            self.counters.looks_since_best += 1
        held_out = {f"eval_{name}": value for name, value in measures.items()}
        self._reporter.metrics(Metrics.model_validate({"step": step, "epoch": epoch, **held_out}))

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._since = time.monotonic()
        self._reporter.progress(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the step; look whether to go on."""
        self.counters.steps_since_log += 1
        self._steps_timed += 1
        self._reporter.progress(state.global_step, state.max_steps)
        self._checkpoints.raise_failure()
        if self.group.any(self._stop.is_set()):
            self._stop.set()  # the one that was asked may be another process
            control.should_save = control.should_training_stop = True
        if args.device.type == "cpu" or control.should_log or control.should_save:
            self._read(state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the training that gains nothing any more, with a checkpoint that says so."""
        looks = self.counters.looks_since_best
        if self._patience is None or looks < self._patience:
            return
        self.counters.stopped_early = control.should_save = control.should_training_stop = True
        _log.info("stopping early: the last %d looks at the held-out rows showed no gain", looks)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write a line of metrics."""
        if not logs or "loss" not in logs:
            return
        counters, elapsed_s = self.counters, max(time.monotonic() - self._since, 1e-9)
        steps = max(counters.steps_since_log, 1)
        tokens = counters.real_tokens - self._tokens_at_log
        self._reporter.metrics(
            Metrics(
                step=state.global_step,
                epoch=round(state.epoch, 4),
                loss=counters.loss_sum / steps,
                lr=logs.get("learning_rate"),
                grad_norm=logs.get("grad_norm"),
                real_tokens=counters.real_tokens,
                real_tokens_per_s=tokens / elapsed_s,
                step_s=elapsed_s / max(self._steps_timed, 1),
                peak_memory_gib=peak_memory_gib(),
                **{name: value / steps for name, value in counters.sums.items()},
            )
        )
        counters.loss_sum, counters.steps_since_log, counters.sums = 0.0, 0, {}
        self._tokens_at_log, self._steps_timed = counters.real_tokens, 0
        self._since = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Hand the trainer's checkpoint over to the uploader."""
        _check_weights(model, state.global_step)
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        gather_random_states(folder, self.group)
        if not self.group.first:
            shutil.rmtree(folder)
            return
        for name in _LEFT_OUT:
            (folder / name).unlink(missing_ok=True)
        # What training began with: every start makes it again.
        shutil.rmtree(folder / REFERENCE, ignore_errors=True)
        (folder / STATE_FILE).write_text(json.dumps(asdict(self.counters)))
        self._checkpoints.save(state.global_step, folder, keep=self.counters.best_step)

    def _read(self, step: int) -> None:
        """Take the sums from the device."""
        loss, tokens = self.group.sums([float(self._loss), float(self._tokens)])
        loss /= self.group.world
        self._loss, self._tokens = 0.0, 0
        if loss - loss != 0.0:  # neither NaN nor an infinity is equal to itself minus itself
            raise _diverged(f"the loss is {loss} at step {step}")
        self.counters.loss_sum += loss
        self.counters.real_tokens += int(tokens)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` returns, and the seconds it took."""
    start = time.monotonic()
    value = work()
    return value, time.monotonic() - start


def peak_memory_gib() -> float:
    """Most memory held so far: reserved on the GPU, or resident in this process (Linux: KiB)."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _check_weights(model: Any, step: int) -> None:
    """A gradient that is no number shows in the weights before it shows in a loss."""
    import torch

    for name, weight in trainable(model).items():
        if not torch.isfinite(weight).all():
            raise _diverged(f"{name} is no number any more at step {step}")


def _diverged(what: str) -> RunFailedError:
    return RunFailedError(
        f"training diverged: {what}; checkpoints before it are kept",
        where="training.learning_rate",
        hint="Try a lower learning rate, more training.warmup_steps, or training.compute=bf16; "
        "look for odd rows with `ftctl data validate`.",
    )
