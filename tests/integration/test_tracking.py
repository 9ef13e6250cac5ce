"""Trackers read back: every point is there once, also after a resume."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import TrackingConfig
from ftctl.contract.status import Metrics, now
from ftctl.errors import RunFailedError, StoppedError
from ftctl.storage.folder import FolderStore
from ftctl_trainer.tracking.board import BoardTracker
from ftctl_trainer.tracking.follow import End, Tracker, following
from ftctl_trainer.tracking.mlflow_server import MlflowTracker
from ftctl_trainer.tracking.record import Point, points
from ftctl_trainer.tracking.weights_biases import WandbTracker
from tests.event_files import scalars
from tests.run_files import a_run

RUN = a_run()
FIRST = [Metrics(step=step, epoch=step / 4, loss=4.0 - step, lr=0.1, time=now()) for step in (1, 2)]
# Going on from step 1: step 2 stands in the metrics again.
ALL = [*FIRST, Metrics(step=2, epoch=0.5, eval_loss=2.5, time=now()),
       Metrics(step=3, epoch=0.75, loss=0.5, lr=0.05, time=now())]  # fmt: skip
CURVES = {
    "train/loss": {1: 3.0, 2: 2.0, 3: 0.5},
    "train/learning_rate": {1: 0.1, 2: 0.1, 3: 0.05},
    "train/epoch": {1: 0.25, 2: 0.5, 3: 0.75},
    "eval/loss": {2: 2.5},
}


def follow(
    connect: Callable[[], Tracker], lines: list[Metrics], error: Exception | None = None
) -> None:
    """One attempt of a stage, from its start to its end."""
    try:
        with following(connect, lambda: points(lines)):
            if error:
                raise error
    except StoppedError:
        return


def near(found: dict[str, dict[int, float]]) -> object:
    return {
        name: pytest.approx(values, rel=1e-6) for name, values in found.items() if name in CURVES
    }


def test_an_event_file_has_every_point_once_after_a_resume(tmp_path: Path) -> None:
    store, key = FolderStore(tmp_path), RunLayout(RUN.run_id).tensorboard

    def connect() -> Tracker:
        return BoardTracker(RUN, store, key)

    follow(connect, FIRST, StoppedError("stopped"))
    follow(connect, ALL)

    found = scalars(store.read(key), tmp_path / "read")
    assert {name: len(values) for name, values in found.items()} == {
        name: len(values) for name, values in CURVES.items()
    }
    assert {name: dict(values) for name, values in found.items()} == near(CURVES)


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's own server over a SQLite file."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
               "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
               "--default-artifact-root", str(folder / "artifacts")]  # fmt: skip
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health", server, folder / "log")
        yield url
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    while server.poll() is None:
        try:
            with urlopen(url):
                return
        except (URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(f"the server ended: {log.read_text()[-2000:]}")


def test_mlflow_has_one_run_with_every_point_once_after_a_resume(mlflow_url: str) -> None:
    from mlflow import MlflowClient

    settings = TrackingConfig(backend="mlflow", project="home", url=mlflow_url, tags=["nightly"])

    def connect() -> Tracker:
        return MlflowTracker(RUN, settings)

    follow(connect, FIRST, StoppedError("stopped"))
    client = MlflowClient(mlflow_url)
    experiment = client.get_experiment_by_name("home")
    assert experiment is not None
    [stopped] = client.search_runs([experiment.experiment_id])
    follow(connect, ALL)
    [run] = client.search_runs([experiment.experiment_id])

    assert (stopped.info.status, run.info.status) == ("KILLED", "FINISHED")
    assert run.info.run_name == RUN.run_id
    assert run.data.tags["ftctl.content_hash"] == RUN.content_hash
    assert run.data.tags["nightly"] == "true"
    assert run.data.params["training.learning_rate"] == str(RUN.config.training.learning_rate)
    found = {
        name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }
    assert found == {name: list(values.items()) for name, values in CURVES.items()}


def test_wandb_offline_leaves_every_point_once_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    store, prefix = FolderStore(tmp_path / "store"), RunLayout(RUN.run_id).wandb
    settings = TrackingConfig(backend="wandb", project="home")
    attempts = iter(("first", "second"))

    def connect() -> Tracker:
        folder = tmp_path / next(attempts)
        return WandbTracker(RUN, settings, folder=folder, store=store, prefix=prefix)

    follow(connect, FIRST, StoppedError("stopped"))
    follow(connect, ALL)

    assert _wandb_curves(store, prefix) == near(CURVES)


def _wandb_curves(store: FolderStore, prefix: str) -> dict[str, dict[int, float]]:
    """The curves in the file that `wandb sync` reads."""
    from wandb.proto.wandb_internal_pb2 import Record

    [key] = [info.key for info in store.list(prefix) if info.key.endswith(".wandb")]
    curves: dict[str, dict[int, float]] = {}
    for body in _log_records(store.read(key)):
        record = Record()
        record.ParseFromString(body)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if name in CURVES:
                step = record.history.step.num
                assert step not in curves.setdefault(name, {})
                curves[name][step] = json.loads(item.value_json)
    return curves


def _log_records(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, after 7 bytes of head: blocks of 32 KiB, records in pieces."""
    block, place, piece = 32768, 7, b""
    while place + 7 <= len(data):
        if block - place % block < 7:  # the rest of a block is too short for another head
            place += block - place % block
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        piece += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield piece
            piece = b""


def test_a_tracker_that_cannot_be_reached_costs_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = TrackingConfig(backend="mlflow", url="http://127.0.0.1:9")

    follow(lambda: MlflowTracker(RUN, settings), FIRST)

    [said] = [line.getMessage() for line in caplog.records if "tracking" in line.getMessage()]
    assert said.startswith("tracking goes on in the store alone: ")
    assert "MLflow refused" in said


def test_a_long_curve_is_not_written_anew_for_each_of_its_points(tmp_path: Path) -> None:
    store, key = FolderStore(tmp_path), "board"
    tracker = BoardTracker(RUN, store, key)
    told = [Point("train/loss", step, 1.0, now()) for step in range(1, 106)]

    tracker.record(told[:100])
    tracker.record(told)
    before = scalars(store.read(key), tmp_path / "before")["train/loss"]
    tracker.close("finished")
    after = scalars(store.read(key), tmp_path / "after")["train/loss"]

    assert (len(before), len(after)) == (100, 105)


@pytest.mark.parametrize(
    ("error", "end"),
    [
        pytest.param(None, "finished", id="done"),
        pytest.param(StoppedError("stopped"), "stopped", id="stopped"),
        pytest.param(RunFailedError("diverged"), "failed", id="failed"),
    ],
)
def test_a_tracker_hears_how_the_stage_ended_after_its_last_points(
    error: Exception | None, end: str
) -> None:
    heard: list[object] = []

    class Listener:
        def record(self, points: Sequence[Point]) -> None:
            heard.append(len(points))

        def close(self, end: End) -> None:
            heard.append(end)

    with (
        pytest.raises(type(error)) if error else nullcontext(),
        following(Listener, lambda: points(ALL)),
    ):
        if error:
            raise error

    assert heard == [len(points(ALL)), end]
