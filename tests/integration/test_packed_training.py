"""Packed rows through the train stage."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.integration.tiny_model import make_tiny_model
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
PACKED: dict[str, dict[str, Any]] = {
    "model": {"lora_dropout": 0.2},
    "training": {"packing": True, "max_steps": -1, "num_train_epochs": 4, "save_steps": 3},
    "testing": {"test": False},
}


def test_a_killed_run_of_packed_rows_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    whole = TinyRun(tmp_path / "whole", model, PACKED).write()
    code, lines = whole.train_now()
    assert code == 0, lines
    [said] = [line["message"] for line in lines if "packing: " in line.get("message", "")]
    rows, sequences = _numbers(said)
    assert rows == 24
    steps = 4 * -(-sequences // 4)  # two sequences a pass, two passes a step
    last = [line for line in whole.metrics() if "loss" in line][-1]
    assert (last["step"], last["epoch"]) == (steps, 4.0)

    run = TinyRun(tmp_path / "killed", model, PACKED).write()
    assert run.interrupt_at(3, signal.SIGKILL)[0] == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    assert run.read(ADAPTER) == whole.read(ADAPTER)
    assert run.metrics() == whole.metrics()


def _numbers(said: str) -> tuple[int, int]:
    """Of `packing: 24 rows in 7 sequences of 256 tokens, 93.0% of them filled`."""
    words = said.replace(",", "").split()
    return int(words[1]), int(words[4])
