"""The init container of the convert stage, as a process, on both kinds of store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from ftctl.contract.layout import RunLayout, marker
from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.contract.status import Status, now
from ftctl.errors import StoppedError
from ftctl.storage.base import Store
from ftctl.storage.runs import adopted, read_run, register, to_yaml
from ftctl.storage.tombstones import write_tombstone
from ftctl_trainer.stages.wait import wait_for_handoff
from tests.integration.s3_server import free_ports

KEYS = RunLayout("tiny-0123456789ab")
WAIT_S = 60


def a_run(storage: StorageConfig) -> RunFile:
    return RunFile(
        run_id=KEYS.run_id,
        content_hash="0123456789ab" + "0" * 52,
        model=ModelSource(name="org/model", kind="hub", revision="1" * 40),
        data=DatasetRecord(digest="2" * 64, splits={}, rows={}),
        template="",
        config=Config(storage=storage),
    )


class Waiting:
    """The process; `lines` are what it has logged so far."""

    def __init__(self, folder: Path, storage: StorageConfig) -> None:
        folder.joinpath("config.yaml").write_text(to_yaml(a_run(storage), without=["cluster"]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ftctl_trainer", "wait", "--config", f"{folder}/config.yaml"],
            env={**os.environ, "FTCTL_LOG": "json"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        """Read the log until a message has `text`."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line)["message"])
            if text in self.lines[-1]:
                return
        raise AssertionError(f"{text!r} is not in {self.lines}")

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        out, _ = self.process.communicate(timeout=WAIT_S)
        self.lines += [json.loads(line)["message"] for line in out.splitlines()]
        return self.process.returncode


def test_it_ends_when_both_parts_of_the_handoff_are_there(
    store: Store, store_config: StorageConfig, tmp_path: Path
) -> None:
    waiting = Waiting(tmp_path, store_config)
    waiting.until(f"waiting for the train stage: {store.url}/{KEYS.adapter}")
    store.write(marker(KEYS.adapter), b"{}")
    time.sleep(3)  # more than the first pauses
    assert waiting.process.poll() is None

    store.write(marker(KEYS.reference), b"{}")

    assert waiting.end() == 0
    assert waiting.lines[-1] == "the train stage has handed over"


@pytest.mark.parametrize("kind", ["failed", "cancelled"])
def test_a_run_that_ended_ends_it_at_once_and_for_good(
    store: Store, store_config: StorageConfig, tmp_path: Path, kind: str
) -> None:
    write_tombstone(store, KEYS, kind, "the reason")  # type: ignore[arg-type]
    store.write(marker(KEYS.adapter), b"{}")
    store.write(marker(KEYS.reference), b"{}")
    waiting = Waiting(tmp_path, store_config)

    assert waiting.end() == 3
    assert f"the run is {kind}: the reason" in waiting.lines[-1]


def test_a_published_run_is_not_waited_for(
    store: Store, store_config: StorageConfig, tmp_path: Path
) -> None:
    store.write(KEYS.success, b"{}")

    assert Waiting(tmp_path, store_config).end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_as_stopped(tmp_path: Path, number: signal.Signals) -> None:
    waiting = Waiting(tmp_path, StorageConfig(url=str(tmp_path)))
    waiting.until("waiting for the train stage")

    waiting.process.send_signal(number)

    assert waiting.end() == 75


def test_a_store_that_does_not_answer_is_asked_again_and_the_log_says_why(
    tmp_path: Path, s3_env: None
) -> None:
    [port] = free_ports(1)
    nobody = StorageConfig(url="s3://bucket/prefix", endpoint_url=f"http://127.0.0.1:{port}")
    waiting = Waiting(tmp_path, nobody)

    waiting.until("waiting for the store: s3://bucket/prefix")
    assert waiting.process.poll() is None

    waiting.process.terminate()
    assert waiting.end() == 75


def test_it_gives_its_place_up_when_the_train_stage_shows_no_life(
    store: Store, store_config: StorageConfig
) -> None:
    with pytest.raises(StoppedError, match="the train stage showed no life for 1 s; this pod"):
        wait_for_handoff(a_run(store_config), threading.Event(), give_way_s=0.5)


def test_it_stays_while_the_train_stage_lives(store: Store, store_config: StorageConfig) -> None:
    beat = now() + timedelta(seconds=3)
    status = Status(
        run_id=KEYS.run_id, stage="train", state="running", phase="training", heartbeat=beat
    )
    store.write(KEYS.status, status.model_dump_json().encode())

    with pytest.raises(StoppedError):
        wait_for_handoff(a_run(store_config), threading.Event(), give_way_s=0.5)

    assert now() > beat


def test_it_does_without_the_machine_learning_stack(tmp_path: Path) -> None:
    folder = tmp_path / "store" / KEYS.root
    folder.mkdir(parents=True)
    folder.joinpath("_SUCCESS").touch()
    config = tmp_path / "config.yaml"
    config.write_text(to_yaml(a_run(StorageConfig(url=str(tmp_path / "store")))))
    program = (
        "import sys; from ftctl_trainer.main import main; "
        f"assert main(['wait', '--config', {str(config)!r}]) == 0; "
        "print(sorted({'torch', 'transformers', 'numpy', 'boto3'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.stdout.splitlines()[-1], done.stderr) == ("[]", "")


def test_a_pod_takes_the_time_of_a_run_from_the_store_and_leaves_what_is_there(
    store: Store, store_config: StorageConfig
) -> None:
    submitted = register(store, a_run(store_config))
    before = store.read(KEYS.config)
    in_the_pod = a_run(store_config.model_copy(update={"region": "elsewhere"}))

    found = adopted(store, in_the_pod)

    assert submitted.created is not None
    assert found == in_the_pod.model_copy(update={"created": submitted.created})
    assert store.read(KEYS.config) == before


def test_a_pod_puts_a_run_that_nobody_submitted_into_the_store(
    store: Store, store_config: StorageConfig
) -> None:
    found = adopted(store, a_run(store_config))

    assert found.created is not None
    assert read_run(store, KEYS.run_id) == found
    assert adopted(store, a_run(store_config)) == found
