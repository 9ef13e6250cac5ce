"""What is said where PyTorch cannot split the base."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributed import fsdp

from ftctl.errors import ConfigError
from ftctl_trainer.model.shard import split_module


def bytes_with_gradients(*_: object, **__: object) -> Any:
    """What fully_shard does with bytes in PyTorch 2.11."""
    return torch.nn.Parameter(torch.zeros(2, dtype=torch.uint8))


def test_a_pytorch_that_cannot_split_bytes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsdp, "fully_shard", bytes_with_gradients)

    with pytest.raises(ConfigError, match="cannot split 4-bit weights") as caught:
        split_module(torch.nn.Linear(1, 1))

    assert caught.value.where == "cluster.shard"


def test_other_failures_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(fsdp, "fully_shard", lost)

    with pytest.raises(RuntimeError, match="Connection closed"):
        split_module(torch.nn.Linear(1, 1))
