"""Failures of libraries that a user can act on, told from bugs."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from ftctl.errors import FtctlError, RunFailedError, StorageError

if TYPE_CHECKING:  # every spawned process imports this
    from ftctl.contract.spec import Config
    from ftctl_trainer.processes.group import Group

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# safetensors, torch and numpy (ndarray.tofile: "8 requested and 3 written") say it in words only.
_NO_ROOM_WORDS = re.compile(
    r"No space left on device|os error 28|unexpected pos|\d+ requested and \d+ written"
)

_LARGER = "Take a larger machine."


def expected_failure(
    error: Exception, workdir: str, config: Config | None = None
) -> FtctlError | None:
    """
    The error to show instead of a library's own, or None: then it is a bug.

    Args:
        workdir: where the stage writes.
        config: a training's; out of memory is answered by its settings.
    """
    text = str(error)
    if (isinstance(error, OSError) and error.errno in _NO_ROOM) or _NO_ROOM_WORDS.search(text):
        return StorageError(
            "no space left on this machine's disk",
            where=workdir,
            hint="Free some, set TMPDIR to a larger disk, or raise the stage's ephemeral storage.",
        )
    # By name: torch is not imported for a stage that failed before it was needed.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return RunFailedError("out of memory", hint=less_memory(config) if config else _LARGER)
    return None


def known_failure(
    error: Exception, workdir: str, config: Config | None, group: Group
) -> FtctlError | None:
    """
    What to say of an error: of the process that caused it, of a library, or its own words.

    Args:
        workdir, config: as of `expected_failure`.
        group: the processes that work together.
    """
    lost = group.lost(error)
    if lost is not None:
        return lost
    if isinstance(error, FtctlError):
        return error
    return expected_failure(error, workdir, config)


def less_memory(config: Config) -> str:
    """What to set, and to what, so that training takes less memory; the cheapest comes first."""
    training = config.training
    rows, passes = training.per_device_train_batch_size, training.gradient_accumulation_steps
    if training.gradient_checkpointing is not True:
        advice = (
            "training.gradient_checkpointing=true, which keeps no activations between layers "
            "and takes about a third more time"
        )
    elif rows > 1:
        half = rows // 2
        advice = (
            f"training.per_device_train_batch_size={half} and "
            f"training.gradient_accumulation_steps={-(-rows * passes // half)}: half the "
            "activations, and as many rows a step"
        )
    elif config.model.modules_to_save:
        advice = (
            "model.modules_to_save=[]: a layer that is trained whole takes 16 bytes a weight, "
            "with its gradient and the optimizer"
        )
    elif training.method == "grpo" and config.grpo.completion_tokens > 64:
        advice = f"grpo.max_completion_length={config.grpo.completion_tokens // 2}: shorter answers"
    else:
        advice = (
            f"training.max_seq_length={training.max_seq_length // 2}: longer rows are cut, "
            "and counted"
        )
    return f"Set {advice}; or take a larger machine. `ftctl estimate` shows what takes how much."
