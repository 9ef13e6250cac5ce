"""What goes wrong with a store in a folder: full, read-only, in the way, killed half-way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from tests.integration.disks import disk_of, make_read_only

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    with disk_of(2, tmp_path / "disk") as disk:
        yield disk


WRITES: dict[str, Callable[[FolderStore, Path], object]] = {
    "write": lambda store, path: store.write("a/x", path.read_bytes()),
    "upload": lambda store, path: store.upload(path, "a/x"),
}
CHANGES: dict[str, Callable[[FolderStore, Path], object]] = {
    **WRITES,
    "delete": lambda store, path: store.delete("a/x"),
}


@pytest.mark.parametrize("action", WRITES)
def test_a_full_disk_leaves_the_old_object(action: str, small_disk: Path, tmp_path: Path) -> None:
    store = FolderStore(small_disk)
    store.write("a/x", b"old")
    source = tmp_path / "source"
    source.write_bytes(bytes(3 * MIB))

    with pytest.raises(StorageError, match="no space is left") as caught:
        WRITES[action](store, source)
    assert caught.value.where == f"{store.url}/a/x"
    assert "Free some space" in str(caught.value.hint)
    assert store.read("a/x") == b"old"
    assert [path.name for path in (small_disk / "a").iterdir()] == ["x"]
    store.write("a/x", b"new")


def test_a_download_to_a_full_disk_leaves_no_file(small_disk: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("x", bytes(3 * MIB))

    with pytest.raises(StorageError, match="no space is left") as caught:
        store.download("x", small_disk / "x")
    assert caught.value.where == str(small_disk / "x")
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("action", CHANGES)
def test_a_read_only_folder(action: str, small_disk: Path, tmp_path: Path) -> None:
    store = FolderStore(small_disk)
    store.write("a/x", b"old")
    make_read_only(small_disk)
    (tmp_path / "source").write_bytes(b"new")

    with pytest.raises(StorageError, match=r"permission denied.*Read-only") as caught:
        CHANGES[action](store, tmp_path / "source")
    assert "storage.url" in str(caught.value.hint)
    assert store.read("a/x") == b"old"
    assert [info.key for info in store.list()] == ["a/x"]


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda store: store.write("x", b"1"), id="write"),
        pytest.param(lambda store: store.read("x"), id="read"),
        pytest.param(lambda store: list(store.list()), id="list"),
    ],
)
def test_a_file_in_place_of_the_folder(
    action: Callable[[FolderStore], object], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"mine")

    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        action(FolderStore(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_object_in_place_of_a_folder_and_the_reverse(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("a/b", b"1")

    for key in ("a", "a/b/c"):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            store.write(key, b"2")
    assert [info.key for info in store.list()] == ["a/b"]
    assert not list((tmp_path / "store").rglob(".*.tmp"))


def test_the_etag_of_a_small_object_is_of_its_content(tmp_path: Path) -> None:
    """A clock that stands still, and a file number that is used again, must not hide a change."""
    store = FolderStore(tmp_path)
    assert store.write("a", b"1") == store.write("b", b"1") != store.write("a", b"2")


def test_a_store_that_was_never_written_is_empty(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "none")

    assert list(store.list()) == []
    assert list(store.list("runs/")) == []
    assert store.stat("x") is None
    store.delete("x")
    assert not (tmp_path / "none").exists()


WRITE_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from ftctl.storage.folder import FolderStore

def progress(size):
    print("some is written", flush=True)
    threading.Event().wait()

FolderStore(Path(sys.argv[1])).upload(Path(sys.argv[2]), "a/x", progress=progress)
"""


def test_a_killed_write_leaves_the_old_object(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("a/x", b"old")
    source = tmp_path / "source"
    source.write_bytes(bytes(9 * MIB))
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, store.url, str(source)], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"some is written\n"
        process.kill()

    assert store.read("a/x") == b"old"
    assert [info.key for info in store.list()] == ["a/x"]
    assert len(list((tmp_path / "store" / "a").iterdir())) == 2
    store.upload(source, "a/x")
    assert store.read("a/x") == bytes(9 * MIB)


def test_deleting_the_last_object_of_a_folder_removes_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("runs/a/checkpoints/step-1/x", b"1")
    store.write("runs/a/y", b"1")
    store.delete("runs/a/checkpoints/step-1/x")

    assert [path.name for path in (tmp_path / "store" / "runs" / "a").iterdir()] == ["y"]


def test_people_s_own_hidden_files_and_links_are_no_objects(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.write("a/x", b"1")
    (tmp_path / "store" / "a" / ".git").mkdir()
    (tmp_path / "store" / "a" / ".git" / "config").write_text("x")
    (tmp_path / "store" / "a" / "loop").symlink_to(tmp_path / "store")

    assert [info.key for info in store.list()] == ["a/x"]
