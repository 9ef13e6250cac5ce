"""What the store knows of a stage while it runs, and after it ended."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.contract.status import Metrics, Status
from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.index import list_runs
from ftctl_trainer import reporter as module
from ftctl_trainer.reporter import StoreReporter

RUN = RunFile(
    run_id="support-bot-0123456789ab",
    content_hash="0" * 64,
    model=ModelSource(name="org/model", kind="hub", revision="c0ffee"),
    data=DatasetRecord(digest="d" * 64, splits={}, rows={}),
    template="{{ user_input }}",
    config=Config(),
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def metrics_steps(store: FolderStore) -> list[int]:
    lines = store.read(f"runs/{RUN.run_id}/metrics.jsonl").splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_run_is_listed_while_it_runs_and_under_the_same_key_when_it_ended(
    store: FolderStore,
) -> None:
    with StoreReporter(store, RUN, "train", holder="me", fence=2) as reporter:
        [running] = list_runs(store)
        reporter.metrics(Metrics(step=5, epoch=0.5, loss=1.5, real_tokens_per_s=100.0))
        reporter.finish("stopped", "stopped")
    with StoreReporter(store, RUN, "train", holder="you", fence=3) as reporter:
        reporter.finish("failed", "failed", error="the disk is full")
    [ended] = list_runs(store)
    assert (running.state, running.name, running.model) == ("running", "support-bot", "org/model")
    assert (ended.state, ended.created) == ("failed", running.created)
    status = Status.model_validate_json(store.read(f"runs/{RUN.run_id}/status.json"))
    assert (status.state, status.error, status.holder) == ("failed", "the disk is full", "you")


def test_a_run_is_listed_with_its_last_training_loss_after_every_stage(store: FolderStore) -> None:
    with StoreReporter(store, RUN, "train") as reporter:
        assert list_runs(store)[0].loss is None
        reporter.metrics(Metrics(step=5, epoch=0.5, loss=1.5))
        reporter.metrics(Metrics(step=10, epoch=1, loss=0.25))
        reporter.metrics(Metrics(step=10, epoch=1, eval_loss=0.5))
        reporter.finish("running", "train done")
    with StoreReporter(store, RUN, "convert") as reporter:
        during = list_runs(store)[0].loss
        reporter.finish("succeeded", "convert done")
    [ended] = list_runs(store)
    assert (during, ended.loss, ended.stage) == (0.25, 0.25, "convert")


def test_the_index_key_is_of_the_time_that_the_store_first_saw_the_run(store: FolderStore) -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    run = RUN.model_copy(update={"created": created})
    with StoreReporter(store, run, "train") as reporter:
        reporter.finish("running", "train done")
    [listed] = list_runs(store)
    assert listed.created == created


def test_a_rewind_drops_later_metrics_and_a_resume_adds_to_what_is_left(
    store: FolderStore,
) -> None:
    with StoreReporter(store, RUN, "train") as reporter:
        for step in (5, 10, 15):
            reporter.metrics(Metrics(step=step, epoch=1.0, loss=1.0))
        reporter.flush()
    with StoreReporter(store, RUN, "train") as reporter:
        reporter.rewind(10)
        assert metrics_steps(store) == [5, 10]
        reporter.metrics(Metrics(step=15, epoch=1.0, loss=1.0))
        reporter.finish("running", "train done")
    assert metrics_steps(store) == [5, 10, 15]


def test_the_heartbeat_brings_status_and_metrics_to_the_store(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.01)
    with StoreReporter(store, RUN, "train") as reporter:
        reporter.progress(0, 40)
        reporter.metrics(Metrics(step=10, epoch=1.0, loss=0.25))
        reporter.progress(10, 40)
        first = reporter.status.heartbeat
        while reporter.status.heartbeat == first:
            pass
    status = Status.model_validate_json(store.read(f"runs/{RUN.run_id}/status.json"))
    assert (status.step, status.total_steps, status.loss) == (10, 40, 0.25)
    assert status.eta_s is not None
    assert metrics_steps(store) == [10]


def test_nothing_is_written_once_the_lease_is_lost(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    lost, beats = threading.Event(), threading.Semaphore(0)

    def check() -> None:
        if lost.is_set():
            beats.release()
            raise StorageError("the lease was lost")

    with StoreReporter(store, RUN, "train", check=check) as reporter:
        lost.set()
        assert beats.acquire(timeout=30)  # what was being written when it was lost is written
        before = {info.key: info.etag for info in store.list()}
        reporter.metrics(Metrics(step=5, epoch=0.5, loss=1.5))
        assert beats.acquire(timeout=30)
        assert beats.acquire(timeout=30)  # a whole beat
        for write in (
            reporter.flush,
            lambda: reporter.phase("training"),
            lambda: reporter.event("checkpoint", step=5),
            lambda: reporter.rewind(4),
            lambda: reporter.finish("failed", "failed"),
        ):
            with pytest.raises(StorageError, match="the lease was lost"):
                write()

    assert {info.key: info.etag for info in store.list()} == before


def test_metrics_that_could_not_be_written_are_written_the_next_time(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> str:
        raise StorageError("no space is left")

    with StoreReporter(store, RUN, "train") as reporter:
        reporter.metrics(Metrics(step=5, epoch=0.5, loss=1.5))
        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "write", refused)
            with pytest.raises(StorageError, match="no space is left"):
                reporter.flush()

        reporter.flush()

    assert metrics_steps(store) == [5]
