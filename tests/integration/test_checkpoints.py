"""Checkpoints in a real folder store: complete or invisible, pruned, and never mixed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.layout import RunLayout
from ftctl.contract.status import Metrics
from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from ftctl_trainer.checkpoints import Checkpoints

KEYS = RunLayout("run-0123456789ab")


@dataclass
class Notes:
    """A reporter and a lease that write down what they are told."""

    fence: int = 3
    lost: bool = False
    said: list[tuple[str, Any]] = field(default_factory=list)

    def phase(self, text: str) -> None: ...
    def progress(self, step: int, total: int) -> None: ...
    def metrics(self, line: Metrics) -> None: ...
    def rewind(self, step: int) -> None: ...
    def history(self) -> list[Metrics]:
        return []

    def event(self, kind: str, **data: Any) -> None:
        self.said.append((kind, data))

    def flush(self) -> None:
        self.said.append(("flush", {}))

    def check(self) -> None:
        if self.lost:
            raise StorageError("the lease was lost")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def made(tmp_path: Path, step: int) -> Path:
    folder = tmp_path / f"local-{step}"
    folder.mkdir()
    (folder / "adapter.bin").write_text(f"weights of {step}")
    return folder


def test_keeps_the_newest_and_the_one_it_is_told_to_keep(
    store: FolderStore, tmp_path: Path
) -> None:
    notes = Notes()
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=2)
    for step in (10, 20, 30, 40, 50):
        checkpoints.save(step, made(tmp_path, step), keep=20)
    checkpoints.flush()
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.download_newest(tmp_path / "new") == 50
    assert (tmp_path / "new" / "adapter.bin").read_text() == "weights of 50"
    assert not list(tmp_path.glob("local-*"))
    assert notes.said[:2] == [("flush", {}), ("checkpoint", {"step": 10})]


def test_an_upload_that_was_cut_off_is_never_seen_and_is_cleared_away(
    store: FolderStore, tmp_path: Path
) -> None:
    notes = Notes()
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=2)
    checkpoints.save(10, made(tmp_path, 10))
    checkpoints.flush()
    store.write(f"{KEYS.checkpoint(20)}adapter.bin", b"half")
    assert checkpoints.steps() == [10]
    checkpoints.discard_incomplete()
    assert [info.key for info in store.list(KEYS.checkpoint(20))] == []
    assert checkpoints.steps() == [10]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    store: FolderStore, tmp_path: Path
) -> None:
    notes = Notes()
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=5)
    for step in (10, 20):
        checkpoints.save(step, made(tmp_path, step))
    checkpoints.flush()
    store.write(f"{KEYS.checkpoint(20)}adapter.bin", b"weights of 02")
    assert checkpoints.download_newest(tmp_path / "new") == 10
    store.write(f"{KEYS.checkpoint(10)}adapter.bin", b"weights of 01")
    with pytest.raises(StorageError, match="sha256"):
        checkpoints.download_newest(tmp_path / "none")


def test_a_holder_that_lost_its_lease_completes_no_checkpoint(
    store: FolderStore, tmp_path: Path
) -> None:
    notes = Notes(lost=True)
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=2)
    checkpoints.save(10, made(tmp_path, 10))
    with pytest.raises(StorageError, match="the lease was lost"):
        checkpoints.flush()
    assert checkpoints.steps() == []


def test_a_lease_that_was_lost_before_an_upload_leaves_the_stores_files_alone(
    store: FolderStore, tmp_path: Path
) -> None:
    successors = KEYS.checkpoint(4) + "adapter.bin"
    store.write(successors, b"of the new holder")
    notes = Notes(lost=True)
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=2)
    checkpoints.save(4, made(tmp_path, 4))
    with pytest.raises(StorageError, match="the lease was lost"):
        checkpoints.flush()

    assert store.read(successors) == b"of the new holder"


class StopsAfterOneDelete(FolderStore):
    """As of a process that is killed while it removes a checkpoint."""

    deleted = 0

    def delete(self, key: str) -> None:
        self.deleted += 1
        if self.deleted > 1:
            raise StorageError("killed")
        super().delete(key)


def test_half_a_removed_checkpoint_does_not_look_whole(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    first = Checkpoints(store, KEYS, Notes(), Notes(), limit=9)
    first.save(10, made(tmp_path, 10))
    first.flush()
    dying = StopsAfterOneDelete(tmp_path / "store")
    dying.deleted = -1  # the first one clears the way for the upload's own marker
    checkpoints = Checkpoints(dying, KEYS, Notes(), Notes(), limit=1)
    checkpoints.save(20, made(tmp_path, 20))
    with pytest.raises(StorageError, match="killed"):
        checkpoints.flush()
    assert Checkpoints(store, KEYS, Notes(), Notes(), limit=9).steps() == [20]


class SlowStore(FolderStore):
    """A store behind a slow link."""

    def upload(self, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.2)
        return super().upload(*arguments, **named)


def fail_after(checkpoints: Checkpoints, folder: Path) -> None:
    """Train as far as a checkpoint, and no further."""
    with checkpoints.uploaded():
        checkpoints.save(3, folder)
        raise RuntimeError("the loss is no number")


def test_what_training_fails_of_does_not_cost_the_checkpoint_before(tmp_path: Path) -> None:
    notes = Notes()
    checkpoints = Checkpoints(SlowStore(tmp_path / "store"), KEYS, notes, notes, limit=2)

    with pytest.raises(RuntimeError, match="no number"):
        fail_after(checkpoints, made(tmp_path, 3))

    assert checkpoints.steps() == [3]


def test_an_upload_that_fails_too_does_not_hide_it(store: FolderStore, tmp_path: Path) -> None:
    notes = Notes(lost=True)

    with pytest.raises(RuntimeError, match="no number"):
        fail_after(Checkpoints(store, KEYS, notes, notes, limit=2), made(tmp_path, 3))


def test_an_upload_that_fails_alone_is_told_at_the_end(store: FolderStore, tmp_path: Path) -> None:
    notes = Notes(lost=True)
    checkpoints = Checkpoints(store, KEYS, notes, notes, limit=2)

    with pytest.raises(StorageError, match="lease"), checkpoints.uploaded():
        checkpoints.save(3, made(tmp_path, 3))
