"""Failures of libraries that a user can act on, told from bugs."""

from __future__ import annotations

import errno
import re

from ftctl.errors import FtctlError, RunFailedError, StorageError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# safetensors, torch and numpy (ndarray.tofile: "8 requested and 3 written") say it in words only.
_NO_ROOM_WORDS = re.compile(
    r"No space left on device|os error 28|unexpected pos|\d+ requested and \d+ written"
)


def expected_failure(error: Exception, workdir: str) -> FtctlError | None:
    """The error to show instead of a library's own, or None: then it is a bug."""
    text = str(error)
    if (isinstance(error, OSError) and error.errno in _NO_ROOM) or _NO_ROOM_WORDS.search(text):
        return StorageError(
            "no space left on this machine's disk",
            where=workdir,
            hint="Free some, set TMPDIR to a larger disk, or raise the stage's ephemeral storage.",
        )
    # By name: torch is not imported for a stage that failed before it was needed.
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return RunFailedError(
            "out of memory",
            hint="Lower training.per_device_train_batch_size or max_seq_length, turn on "
            "training.gradient_checkpointing, or take a larger machine.",
        )
    return None
