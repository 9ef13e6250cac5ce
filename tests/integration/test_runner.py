"""What stops a stage that works, besides a signal."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ftctl.contract.layout import RunLayout
from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError, RunFailedError, StoppedError, StorageError
from ftctl.report.collect import collect_status
from ftctl.storage.folder import FolderStore
from ftctl.storage.index import list_runs
from ftctl.storage.tombstones import write_tombstone
from ftctl_trainer import reporter, runner
from ftctl_trainer.context import StageContext
from ftctl_trainer.runner import run_stage
from ftctl_trainer.stop import end_if_stopped

KEYS = RunLayout("tiny-0123456789ab")
WAIT_S = 60


def a_run(folder: Path) -> RunFile:
    """A run over a store in this folder."""
    return RunFile(
        run_id=KEYS.run_id,
        content_hash="0123456789ab" + "0" * 52,
        model=ModelSource(name="org/model", kind="hub", revision="1" * 40),
        data=DatasetRecord(digest="2" * 64, splits={}, rows={}),
        template="",
        config=Config(storage=StorageConfig(url=str(folder))),
    )


def test_a_stage_stops_when_its_run_is_cancelled_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = FolderStore(tmp_path), a_run(tmp_path)

    def stage(ctx: StageContext) -> None:
        write_tombstone(store, KEYS, "cancelled", "by somebody elsewhere")
        assert ctx.stop.wait(WAIT_S)
        end_if_stopped(ctx.stop)

    monkeypatch.setattr(reporter, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(runner, "_stage_function", lambda _: stage)

    with pytest.raises(StoppedError, match="stopped on request"):
        run_stage(run, "train", threading.Event())

    assert collect_status(store, KEYS.run_id).state == "cancelled"
    assert [listed.state for listed in list_runs(store)] == ["cancelled"]
    with pytest.raises(ConfigError, match="the run is cancelled: by somebody elsewhere"):
        run_stage(run, "train", threading.Event())


def test_a_state_that_cannot_be_written_does_not_hide_what_ended_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stage(ctx: StageContext) -> None:
        monkeypatch.setattr(FolderStore, "write", refused)
        raise RunFailedError("diverged: the loss is nan at step 6")

    def refused(*_: object, **__: object) -> str:
        raise StorageError("no space is left")

    monkeypatch.setattr(runner, "_stage_function", lambda _: stage)

    with pytest.raises(RunFailedError, match="diverged: the loss is nan"):
        run_stage(a_run(tmp_path), "train", threading.Event())

    assert "the run's state was not written: no space is left" in caplog.text
