from __future__ import annotations

import errno
from typing import Any

import pytest

from ftctl.contract.spec import Config
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


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        pytest.param(
            {"training": {"gradient_checkpointing": "auto"}},
            "Set training.gradient_checkpointing=true, which",
            id="activations-are-kept",
        ),
        pytest.param(
            {
                "training": {
                    "gradient_checkpointing": "offload",
                    "per_device_train_batch_size": 2,
                }
            },
            "Set training.gradient_checkpointing=true, which",
            id="offloaded",
        ),
        pytest.param(
            {"training": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}},
            "Set training.per_device_train_batch_size=4 and "
            "training.gradient_accumulation_steps=4:",
            id="a-large-batch",
        ),
        pytest.param(
            {"training": {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 1}},
            "Set training.per_device_train_batch_size=1 and "
            "training.gradient_accumulation_steps=3:",
            id="an-odd-batch",
        ),
        pytest.param({}, "Set model.modules_to_save=[]:", id="a-trained-head"),
        pytest.param(
            {"model": {"modules_to_save": []}},
            "Set training.max_seq_length=1024:",
            id="long-rows",
        ),
        pytest.param(
            {"model": {"modules_to_save": []}, "training": {"method": "grpo"}},
            "Set grpo.max_completion_length=128:",
            id="long-answers",
        ),
    ],
)
def test_out_of_memory_says_which_setting_to_change_and_to_what(
    settings: dict[str, Any], want: str
) -> None:
    found = expected_failure(MemoryError(), "/scratch", Config.model_validate(settings))
    assert found is not None
    assert str(found.hint).startswith(want)


def test_anything_else_is_a_bug() -> None:
    assert expected_failure(KeyError("step"), "/scratch") is None
    assert expected_failure(FileNotFoundError(errno.ENOENT, "x"), "/scratch") is None
