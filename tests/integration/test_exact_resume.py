"""Every kind of interruption of every kind of training: the same bytes, and little done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.method_runs import method_run
from tests.integration.tiny_run import TinyRun

pytestmark = pytest.mark.long
STEPS, SAVE_STEPS = 12, 4
ADAPTER = "adapter/adapter_model.safetensors"
KILL_AT = Path(__file__).parent / "kill_at"

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module", params=["sft", "dpo", "grpo"])
def method(request: pytest.FixtureRequest) -> str:
    """How it is trained."""
    return str(request.param)


@pytest.fixture(scope="module")
def finished(method: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    return method_run(folder, model, method, logging_steps=1).trained()


def by_sigterm(run: TinyRun) -> Lines:
    """What a pod is sent when its node is drained."""
    code, lines = run.interrupt_at(4, signal.SIGTERM)
    assert code == 75, lines
    return lines


def in_a_step(run: TinyRun) -> Lines:
    """kill -9 between two checkpoints."""
    process = run.start()
    heard = run.hear(process, step=6)
    process.kill()
    return [*heard, *run.finish(process)[1]]


def in_a_checkpoint(run: TinyRun) -> Lines:
    """kill -9 while the second checkpoint is written to the disk."""
    return _killed_at(run, r"checkpoint-8/trainer_state\.json")


def in_an_upload(run: TinyRun) -> Lines:
    """kill -9 while the second checkpoint's files go into the store."""
    return _killed_at(run, r"checkpoints/step-8/optimizer\.pt")


def before_the_marker(run: TinyRun) -> Lines:
    """kill -9 when all of its files are there, and nothing says so."""
    return _killed_at(run, r"checkpoints/step-8/_COMPLETE")


@pytest.mark.parametrize(
    "interrupted", [by_sigterm, in_a_step, in_a_checkpoint, in_an_upload, before_the_marker]
)
def test_a_run_goes_on_to_the_same_bytes(
    interrupted: Callable[[TinyRun], Lines],
    method: str,
    finished: TinyRun,
    model: Path,
    tmp_path: Path,
) -> None:
    run = method_run(tmp_path, model, method, logging_steps=1)
    first = interrupted(run)
    run.expire_lease()

    code, lines = run.train_now()

    assert code == 0, lines
    _goes_on_exactly(run, finished, steps_before=_reached(first))


def test_a_node_that_comes_back_finds_its_run_taken_over(
    method: str, finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = method_run(tmp_path, model, method, logging_steps=1)
    gone = run.start()
    heard = run.hear(gone, step=6)
    gone.send_signal(signal.SIGSTOP)

    code, lines = run.train_now()  # when the lease has run out: both clocks count, 90 s
    gone.send_signal(signal.SIGCONT)
    code_of_gone, said = run.finish(gone)

    assert code == 0, lines
    assert code_of_gone not in (0, None), said
    assert "the lease was lost to" in said[-1]["message"]
    _goes_on_exactly(run, finished, steps_before=_reached(heard))


def _killed_at(run: TinyRun, place: str) -> Lines:
    """Let a process kill itself where it opens such a path to write."""
    paths = [str(KILL_AT), *filter(None, [os.environ.get("PYTHONPATH")])]
    run.environment = {"PYTHONPATH": os.pathsep.join(paths), "FTCTL_KILL_AT": place}
    code, lines = run.train_now()
    assert code == -signal.SIGKILL, lines
    run.environment = {}
    return lines


def _reached(lines: Lines) -> int:
    """The last step that an attempt told of."""
    return max(line["status"]["step"] for line in lines if "status" in line)


def _goes_on_exactly(run: TinyRun, finished: TinyRun, *, steps_before: int) -> None:
    [resumed] = [line for line in run.lines("events.jsonl") if line["kind"] == "resumed"]
    step = resumed["data"]["step"]
    assert 0 < step <= steps_before
    assert steps_before + STEPS - step <= STEPS + SAVE_STEPS
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()
