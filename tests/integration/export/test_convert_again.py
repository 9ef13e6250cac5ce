"""A convert stage that is stopped, killed or repeated, and a base that lies in the store."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ftctl.errors import (
    StoppedError,
    StorageError,
)
from ftctl.storage.models import push_model
from ftctl_trainer.reporter import StoreReporter
from ftctl_trainer.runner import load_run
from ftctl_trainer.stages.convert import run_convert
from tests.integration.export.conftest import Handoff
from tests.integration.export.convert_runs import (
    PUBLISHED,
    handed_over,
    is_published,
    published_files,
    stage_context,
)
from tests.integration.tiny_run import TinyRun


class _StopAt(StoreReporter):
    """Sets the stop flag once a phase is reached, as SIGTERM does at any moment."""

    stop: threading.Event
    at: str

    def phase(self, text: str) -> None:
        """Report, then stop."""
        super().phase(text)
        if text.startswith(self.at):
            self.stop.set()


@pytest.mark.parametrize("at", ["merging", "verifying q4_1", "answering with q4_1"])
def test_a_stop_publishes_nothing_and_a_second_try_ends_the_same(
    at: str, handoff: Handoff, finished: TinyRun, tmp_path: Path
) -> None:
    run = handed_over(tmp_path, handoff)
    with stage_context(run, tmp_path / "first") as context:
        file = context.run
        reporter = _StopAt(run.store, file, "convert")
        reporter.stop, reporter.at = context.stop, at
        with reporter, pytest.raises(StoppedError) as caught:
            run_convert(replace(context, reporter=reporter))
    assert caught.value.exit_code == 75
    assert not is_published(run)

    with stage_context(run, tmp_path / "second") as context:
        run_convert(context)

    again, before = published_files(run), published_files(finished)
    assert {name: again[name] for name in PUBLISHED if name != "_COMPLETE"} == {
        name: before[name] for name in PUBLISHED if name != "_COMPLETE"
    }


def test_a_second_pass_over_a_finished_run_changes_no_file(
    handoff: Handoff, tmp_path: Path
) -> None:
    run = handed_over(tmp_path, handoff, testing={"test": False})
    with stage_context(run, tmp_path / "first") as context:
        run_convert(context)
    first = published_files(run)
    run.store.delete(run.layout.success)

    with stage_context(run, tmp_path / "second") as context:
        run_convert(context)

    second = published_files(run)
    assert {n: b for n, b in second.items() if n != "_COMPLETE"} == {
        n: b for n, b in first.items() if n != "_COMPLETE"
    }
    assert run.store.stat(run.layout.success) is not None


def _away(run: TinyRun) -> None:
    """Put the run's base into the store, and say that it lies on another machine."""
    file = load_run(run.file)
    push_model(run.store, file.model)
    elsewhere = file.model.model_copy(update={"path": "/laptop/models/tiny"})
    run.file.write_text(
        yaml.safe_dump(file.model_copy(update={"model": elsewhere}).model_dump(mode="json"))
    )


def _kill_when(run: TinyRun, phase: str) -> None:
    """Start the convert stage as a pod does, and kill it once it says that it is there."""
    process = run.start("convert")
    while process.poll() is None:
        said = run.store.read(run.layout.status) if run.store.stat(run.layout.status) else b""
        if phase in said.decode():
            process.kill()
    assert run.finish(process)[0] == -signal.SIGKILL


def test_a_base_in_the_store_is_read_from_there_and_never_copied(
    handoff: Handoff, finished: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it merges, and started again."""
    for name in ("FTCTL_CACHE", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    run = handed_over(tmp_path, handoff, testing={"test": False})
    _away(run)

    _kill_when(run, "merging")
    assert not is_published(run)
    left = [path.name for path in (tmp_path / "TMPDIR").rglob("*.*")]
    code, lines = run.finish(run.start("convert"))

    assert code == 0, lines
    again, before = published_files(run), published_files(finished)
    assert {name: again[name] for name in PUBLISHED if name != "_COMPLETE"} == {
        name: before[name] for name in PUBLISHED if name != "_COMPLETE"
    }
    assert {"config.json", "_base.json", "adapter_model.safetensors"} <= set(left)
    assert "model.safetensors" not in left
    assert list((tmp_path / "FTCTL_CACHE" / "models").iterdir()) == []


def test_a_base_that_was_changed_in_the_store_publishes_nothing(
    handoff: Handoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    run = handed_over(tmp_path, handoff, model={"qtype": "f16"})
    _away(run)
    key = f"models/{load_run(run.file).model.revision}/model.safetensors"
    body = bytearray(run.store.read(key))
    body[-1000] ^= 1
    run.store.write(key, bytes(body))

    with (
        stage_context(run, tmp_path / "work") as context,
        pytest.raises(StorageError, match="the content has sha256") as caught,
    ):
        run_convert(context)

    assert caught.value.where == f"{run.store.url}/{key}"
    assert not is_published(run)
