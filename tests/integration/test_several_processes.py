"""Processes that train one run together give what one alone does, over real sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from tests.integration.tiny_model import action_rows
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
# No dropout, whose random numbers every process draws for its own rows. 22 rows are five steps and
# a half an epoch: the last step has rows for one process only.
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"lora_dropout": 0.0, "torch_dtype": "float32"},
    "training": {"max_steps": 8, "logging_steps": 1, "eval_steps": 4},
    "testing": {"test": False},
}
TWO = {"FTCTL_PROCESSES": "2"}


@pytest.fixture(scope="module")
def alone(model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The run in one process."""
    return a_run(tmp_path_factory.mktemp("alone"), model).trained()


def test_two_processes_stopped_and_resumed_with_a_split_base_train_what_one_does(
    alone: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = a_run(tmp_path, model, environment=TWO)
    code, lines = run.interrupt_at(4, signal.SIGTERM)
    assert code == 75, lines
    stopped = [line for line in lines if line.get("level") == "warning"]
    assert [line["message"].split(";")[0] for line in stopped] == ["stopped on request"]
    saved = {info.key.rpartition("/")[2] for info in run.store.list(run.layout.checkpoints)}
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= saved

    run.environment = {**TWO, "FTCTL_SHARD": "1"}
    code, lines = run.train_now()

    assert code == 0, lines
    assert any("2 layers are split among 2" in line["message"] for line in lines)
    [resumed] = [line for line in run.lines("events.jsonl") if line["kind"] == "resumed"]
    assert 4 <= resumed["data"]["step"] < 8
    same_adapter(run, alone)
    same_metrics(run, alone)


def test_a_bad_config_on_another_node_ends_both_nodes_and_the_run_by_exit_code_3(
    model: Path, tmp_path: Path
) -> None:
    first = a_run(tmp_path / "first", model)
    second = a_run(tmp_path / "second", model, lora_target_modules=["nothing"])
    place = f"127.0.0.1:{free_port()}"

    processes = [on_node(run, number, place) for number, run in enumerate((first, second))]
    ends = [run.finish(process) for run, process in zip((first, second), processes, strict=True)]

    assert [code for code, _ in ends] == [3, 3], ends
    tombstone = json.loads(first.read("_FAILED"))
    assert "the model has no layer 'nothing'" in tombstone["reason"]
    assert list(second.store.list(second.layout.root)) == []


def a_run(
    root: Path, model: Path, environment: dict[str, str] | None = None, **of_model: Any
) -> TinyRun:
    """A run of the settings above."""
    root.mkdir(exist_ok=True)
    settings = {**SETTINGS, "model": {**SETTINGS["model"], **of_model}}
    rows = list(action_rows(22))
    return TinyRun(root, model, settings, train=rows, environment=environment or {}).write()


def on_node(run: TinyRun, number: int, place: str) -> subprocess.Popen[str]:
    """Start what the pod of one of two nodes runs."""
    run.environment = {
        "FTCTL_PROCESSES": "1",
        "FTCTL_NODES": "2",
        "FTCTL_RENDEZVOUS": place,
        "JOB_COMPLETION_INDEX": str(number),
    }
    return run.start()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def same_adapter(run: TinyRun, other: TinyRun) -> None:
    ours, theirs = load(run.read(ADAPTER)), load(other.read(ADAPTER))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-6)


def same_metrics(run: TinyRun, other: TinyRun) -> None:
    """Each line once, with the same numbers; an epoch's parts are counted by the pass."""
    ours, theirs = run.metrics(), other.metrics()
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for line, want in zip(ours, theirs, strict=True):
        del line["epoch"], want["epoch"]
        assert line == pytest.approx(want, rel=1e-5)
