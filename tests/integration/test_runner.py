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
from ftctl.errors import ConfigError, StoppedError
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


def test_a_stage_stops_when_its_run_is_cancelled_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(tmp_path)
    run = RunFile(
        run_id=KEYS.run_id,
        content_hash="0123456789ab" + "0" * 52,
        model=ModelSource(name="org/model", kind="hub", revision="1" * 40),
        data=DatasetRecord(digest="2" * 64, splits={}, rows={}),
        template="",
        config=Config(storage=StorageConfig(url=str(tmp_path))),
    )

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
