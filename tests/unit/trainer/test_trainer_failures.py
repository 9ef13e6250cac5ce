from __future__ import annotations

import errno

import pytest

from ftctl.errors import FtctlError, RunFailedError, StorageError
from ftctl_trainer.failures import expected_failure


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        pytest.param(
            OSError(errno.ENOSPC, "No space left on device"),
            StorageError,
            "no space left on this machine's disk",
            id="full-disk",
        ),
        pytest.param(
            RuntimeError("Error while serializing: I/O error: (os error 28)"),
            StorageError,
            "no space left on this machine's disk",
            id="full-disk-in-words",
        ),
        pytest.param(
            OSError("27648 requested and 1024 written"),
            StorageError,
            "no space left on this machine's disk",
            id="full-disk-below-numpy",
        ),
        pytest.param(OutOfMemoryError("CUDA"), RunFailedError, "out of memory", id="gpu-memory"),
        pytest.param(MemoryError(), RunFailedError, "out of memory", id="memory"),
    ],
)
def test_what_a_user_can_act_on_is_no_bug(
    error: Exception, kind: type[FtctlError], what: str
) -> None:
    found = expected_failure(error, "/scratch")
    assert type(found) is kind
    assert found.what == what


def test_anything_else_is_a_bug() -> None:
    assert expected_failure(KeyError("step"), "/scratch") is None
    assert expected_failure(FileNotFoundError(errno.ENOENT, "x"), "/scratch") is None
