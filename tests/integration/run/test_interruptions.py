"""Ctrl-C, kill -9 and two at once: nothing is lost, and the end is the same adapter."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ftctl.contract.layout import RunLayout
from tests.integration.run.conftest import (
    Published,
    Workplace,
    adapter_bytes,
    json_lines,
)


def test_ctrl_c_saves_a_checkpoint_and_resume_ends_in_the_same_adapter(
    workplace: Workplace, published: Published
) -> None:
    store, layout = workplace.root / "ctrl-c", published.layout
    process = started(workplace, store, layout)

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()

    assert process.returncode == 130, stderr
    assert f"Go on with `ftctl resume {published.run_id}`." in stderr
    assert not (store / layout.adapter / "_COMPLETE").exists()

    resumed = workplace.ftctl("resume", published.run_id, f"storage.url={store}")

    assert resumed.code == 0, resumed.stderr
    assert adapter_bytes(store, published.run_id) == adapter_bytes(
        published.store, published.run_id
    )
    assert steps_resumed_from(store, layout)[0] >= 2


def test_a_killed_training_process_is_resumed_from_its_checkpoint(
    workplace: Workplace, published: Published
) -> None:
    store, layout = workplace.root / "killed", published.layout
    process = started(workplace, store, layout)

    kill_children(process.pid)
    _, stderr = process.communicate()

    assert process.returncode == 7, stderr
    assert "the process was killed, most likely for want of memory" in stderr

    resumed = workplace.ftctl("resume", published.run_id, f"storage.url={store}")

    assert resumed.code == 0, resumed.stderr
    assert adapter_bytes(store, published.run_id) == adapter_bytes(
        published.store, published.run_id
    )
    assert steps_resumed_from(store, layout)[0] >= 2
    steps = [
        line["step"] for line in json_lines(store / layout.metrics) if line.get("loss") is not None
    ]
    assert steps == list(range(1, 9))


def test_the_second_of_two_runs_at_once_waits_for_the_lease(
    workplace: Workplace, published: Published
) -> None:
    store = workplace.root / "twice"
    arguments = ("run", f"storage.url={store}", *workplace.settings)
    first, second = workplace.start(*arguments), workplace.start(*arguments)
    ends = [process.communicate() for process in (first, second)]

    assert [first.returncode, second.returncode] == [0, 0], ends
    waited = [stderr for _, stderr in ends if "waiting: " in stderr]
    assert len(waited) >= 1
    events = json_lines(store / published.layout.events)
    trainings = [
        event for event in events if (event["stage"], event["kind"]) == ("train", "started")
    ]
    assert len(trainings) == 1
    assert adapter_bytes(store, published.run_id) == adapter_bytes(
        published.store, published.run_id
    )


def started(workplace: Workplace, store: Path, layout: RunLayout) -> subprocess.Popen[str]:
    """Start a run, and come back when its first checkpoint is complete."""
    process = workplace.start("run", f"storage.url={store}", *workplace.settings)
    wait_for(store / layout.checkpoint(2) / "_COMPLETE", process)
    return process


def steps_resumed_from(store: Path, layout: RunLayout) -> list[int]:
    """The steps that a run went on from."""
    events = json_lines(store / layout.events)
    return [event["data"]["step"] for event in events if event["kind"] == "resumed"]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file is there; fail when the process ends before."""
    while not path.exists():
        if process.poll() is not None:
            _, stderr = process.communicate()
            pytest.fail(f"ended with {process.returncode} before {path.name} was there: {stderr}")
        time.sleep(0.02)


def kill_children(pid: int) -> None:
    """kill -9 the stage below `ftctl run`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    assert children, "the stage is not running"
    for child in children:
        os.kill(int(child), signal.SIGKILL)
