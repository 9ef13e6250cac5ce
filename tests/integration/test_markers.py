"""Folders in and out of a store, markers, tombstones and the index of runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ftctl.contract.layout import INDEX, RunLayout
from ftctl.contract.lineage import FileRecord, Marker
from ftctl.contract.status import IndexRecord
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Progress, Store
from ftctl.storage.index import list_runs, write_index
from ftctl.storage.markers import download_folder, read_marker, upload_folder, write_marker
from ftctl.storage.tombstones import clear_tombstones, find_tombstone, write_tombstone

PREFIX = "runs/x/adapter/"
FILES = {"a.json": b"{}", "deep/er/б.bin": b"\x00" * 5000, "empty": b"", "z": b"z" * 100}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in {**FILES, ".cache/hidden": b"no", ".hidden": b"no"}.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "in"


def expected() -> list[FileRecord]:
    return [
        FileRecord(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in FILES.items()
    ]


def test_a_folder_goes_in_and_comes_out(store: Store, folder: Path, tmp_path: Path) -> None:
    moved_in: list[int] = []
    moved_out: list[int] = []
    size = sum(map(len, FILES.values()))

    files = upload_folder(store, folder, PREFIX, progress=moved_in.append)
    written = write_marker(store, PREFIX, files, fence=3)
    found = download_folder(store, PREFIX, tmp_path / "out", progress=moved_out.append)

    assert files == expected()
    assert found == written == read_marker(store, PREFIX)
    assert (found.files, found.fence) == (expected(), 3)
    out = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert out == FILES
    assert (sum(moved_in), sum(moved_out)) == (size, size)


def test_a_second_download_moves_only_what_is_missing_or_wrong(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    write_marker(store, PREFIX, upload_folder(store, folder, PREFIX), fence=1)
    out = tmp_path / "out"
    moved: list[int] = []
    download_folder(store, PREFIX, out)
    untouched = (out / "z").stat().st_mtime_ns
    (out / "a.json").unlink()
    (out / "deep/er/б.bin").write_bytes(b"\x01" * 5000)

    download_folder(store, PREFIX, out, progress=moved.append)

    assert (out / "z").stat().st_mtime_ns == untouched
    assert (out / "deep/er/б.bin").read_bytes() == FILES["deep/er/б.bin"]
    assert sum(moved) == sum(map(len, FILES.values()))


def test_without_a_marker_nothing_is_downloaded(store: Store, folder: Path, tmp_path: Path) -> None:
    upload_folder(store, folder, PREFIX)

    assert read_marker(store, PREFIX) is None
    with pytest.raises(NotFoundError, match="_COMPLETE is missing") as caught:
        download_folder(store, PREFIX, tmp_path / "out")
    assert caught.value.where == f"{store.url}/{PREFIX}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param(lambda store: store.delete(f"{PREFIX}z"), "is missing", id="missing"),
        pytest.param(
            lambda store: store.write(f"{PREFIX}z", b"zz"), "has 2 bytes, where 100", id="shorter"
        ),
    ],
)
def test_a_marker_covers_only_what_is_there(
    store: Store, folder: Path, change: Callable[[Store], object], match: str
) -> None:
    files = upload_folder(store, folder, PREFIX)
    change(store)

    with pytest.raises(StorageError, match=match) as caught:
        write_marker(store, PREFIX, files, fence=1)
    assert caught.value.where == f"{store.url}/{PREFIX}z"
    assert read_marker(store, PREFIX) is None


def test_a_new_upload_takes_the_old_marker_away_first(store: Store, folder: Path) -> None:
    write_marker(store, PREFIX, upload_folder(store, folder, PREFIX), fence=1)

    def interrupt(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload_folder(store, folder, PREFIX, progress=interrupt)
    assert read_marker(store, PREFIX) is None


def test_a_second_upload_puts_only_what_is_missing_or_changed(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_marker(store, PREFIX, upload_folder(store, folder, PREFIX), fence=1)
    store.delete(f"{PREFIX}z")
    (folder / "a.json").write_bytes(b"another")
    put: list[str] = []
    upload = store.upload

    def counted(path: Path, key: str, *, progress: Progress | None = None) -> str:
        put.append(key)
        return upload(path, key, progress=progress)

    monkeypatch.setattr(store, "upload", counted)
    files = upload_folder(store, folder, PREFIX)

    assert sorted(put) == [f"{PREFIX}a.json", f"{PREFIX}z"]
    write_marker(store, PREFIX, files, fence=2)
    assert [file.name for file in files] == list(FILES)
    assert (store.read(f"{PREFIX}a.json"), store.read(f"{PREFIX}z")) == (b"another", FILES["z"])


def test_a_changed_object_is_not_handed_out(store: Store, folder: Path, tmp_path: Path) -> None:
    write_marker(store, PREFIX, upload_folder(store, folder, PREFIX), fence=1)
    store.write(f"{PREFIX}z", b"y" * 100)

    with pytest.raises(StorageError, match="the content has sha256"):
        download_folder(store, PREFIX, tmp_path / "out")
    assert not (tmp_path / "out" / "z").exists()


def test_a_marker_cannot_lead_out_of_the_folder(store: Store, tmp_path: Path) -> None:
    evil = Marker(
        files=[FileRecord(name="../evil", size=1, sha256="0" * 64)],
        fence=1,
        written=datetime.now(UTC),
    )
    store.write(f"{PREFIX}_COMPLETE", evil.model_dump_json().encode())

    with pytest.raises(StorageError, match=r"'\.\./evil' has a part that starts with a dot"):
        download_folder(store, PREFIX, tmp_path / "out")


def test_a_damaged_marker_is_named(store: Store) -> None:
    store.write(f"{PREFIX}_COMPLETE", b'{"files": [')

    with pytest.raises(StorageError, match="the marker is damaged"):
        read_marker(store, PREFIX)


def test_a_folder_that_is_not_there_is_not_uploaded(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        upload_folder(store, tmp_path / "none", PREFIX)


def test_hundreds_of_small_files(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(200):
        (source / f"{number:03d}").write_bytes(b"%d" % number)
    write_marker(store, PREFIX, upload_folder(store, source, PREFIX), fence=1)
    download_folder(store, PREFIX, tmp_path / "out")

    assert len(list((tmp_path / "out").iterdir())) == 200
    assert (tmp_path / "out" / "123").read_bytes() == b"123"


def run_record(number: int, **changes: object) -> IndexRecord:
    created = datetime(2025, 1, 2, 3, 4, 5, 678000, tzinfo=UTC) + timedelta(milliseconds=number)
    values = {
        "run_id": f"run-{number:012x}",
        "name": "run",
        "created": created,
        "state": "running",
        "stage": "train",
        "model": "m",
        "method": "sft",
        "updated": created,
    }
    return IndexRecord.model_validate({**values, **changes})


def test_runs_are_listed_newest_first(store: Store) -> None:
    assert list_runs(store) == []
    records = [run_record(number) for number in (5, 1, 4, 2, 3)]
    for record in records:
        write_index(store, record)
    changed = run_record(4, state="succeeded", loss=0.5)
    write_index(store, changed)

    want = [run_record(5), changed, run_record(3), run_record(2), run_record(1)]
    assert list_runs(store) == want
    assert list_runs(store, limit=2) == want[:2]


def test_a_damaged_record_hides_no_other(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    write_index(store, run_record(1))
    store.write(f"{INDEX}0000-broken.json", b"{")

    with caplog.at_level(logging.WARNING):
        assert list_runs(store) == [run_record(1)]
    assert "0000-broken.json is no record of a run" in caplog.text


def test_tombstones_end_a_run_until_they_are_cleared(store: Store) -> None:
    run = RunLayout("x-0123456789ab")
    assert find_tombstone(store, run) is None
    write_tombstone(store, run, "failed", "out of memory")
    failed = find_tombstone(store, run)
    write_tombstone(store, run, "cancelled", "by hand")
    cancelled = find_tombstone(store, run)

    assert failed is not None
    assert (failed.kind, failed.reason) == ("failed", "out of memory")
    assert cancelled is not None
    assert (cancelled.kind, cancelled.reason) == ("cancelled", "by hand")
    assert {info.key for info in store.list(run.root)} == {run.cancelled, run.failed}
    clear_tombstones(store, run)
    assert find_tombstone(store, run) is None


def test_an_empty_tombstone_made_by_hand_counts(store: Store) -> None:
    run = RunLayout("x-0123456789ab")
    store.write(run.cancelled, b"")
    found = find_tombstone(store, run)

    assert found is not None
    assert (found.kind, found.reason, found.time) == ("cancelled", "", None)
