"""What every store must do, tried on a folder and on a real S3 server alike."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError, NotFoundError, Store
from ftctl.storage.open import open_store

MIB = 2**20


def pattern(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(pattern(40 * MIB + 12345))
    return path


@pytest.mark.parametrize(
    ("key", "data"),
    [
        pytest.param("plain.json", b"{}", id="plain"),
        pytest.param("runs/a-b.c_d/step-10/x", b"\x00\xff" * 999, id="deep"),
        pytest.param("данные/ключ с пробелом+%20?#&é.txt", "ж".encode(), id="unicode"),
        pytest.param("empty", b"", id="empty"),
        pytest.param("_COMPLETE", b"1", id="underscore"),
    ],
)
def test_returns_what_was_written(store: Store, key: str, data: bytes) -> None:
    etag = store.write(key, data)

    assert store.read(key) == data
    assert store.read_tagged(key) == (data, etag)
    found = store.stat(key)
    assert found is not None
    assert (found.key, found.size, found.etag) == (key, len(data), etag)
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=1)
    assert list(store.list()) == [found]


def test_overwrites_whole(store: Store) -> None:
    first = store.write("a", b"first and longer")
    second = store.write("a", b"second")

    assert first != second
    assert store.read("a") == b"second"


def test_says_that_an_object_is_not_there(store: Store, tmp_path: Path) -> None:
    store.write("folder/x", b"1")
    for key in ("none", "folder", "folder/x/below"):
        for action in (
            store.read,
            store.read_tagged,
            lambda key: store.read_range(key, 0, 1),
            lambda key: store.download(key, tmp_path / "got"),
        ):
            with pytest.raises(NotFoundError, match="no such object"):
                action(key)
        assert store.stat(key) is None
        store.delete(key)
    assert list(tmp_path.glob("*got*")) == []
    assert store.read("folder/x") == b"1"


def test_deletes(store: Store) -> None:
    store.write("a/b/c", b"1")
    store.delete("a/b/c")
    store.delete("a/b/c")

    assert store.stat("a/b/c") is None
    assert list(store.list()) == []
    store.write("a", b"now an object itself")
    assert store.read("a") == b"now an object itself"


@pytest.mark.parametrize(
    ("start", "length", "want"),
    [
        pytest.param(0, 4, b"0123", id="head"),
        pytest.param(3, 4, b"3456", id="middle"),
        pytest.param(8, 99, b"89", id="past-the-end"),
        pytest.param(10, 5, b"", id="at-the-end"),
        pytest.param(50, 5, b"", id="beyond"),
        pytest.param(5, 0, b"", id="nothing"),
    ],
)
def test_reads_ranges(store: Store, start: int, length: int, want: bytes) -> None:
    store.write("digits", b"0123456789")

    assert store.read_range("digits", start, length) == want


def test_an_empty_range_of_nothing_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.read_range("none", 0, 0)


KEYS = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b", "ab", "Z", "é", "a/c-d", "a/c.d/e", "zz/я"]


@pytest.mark.parametrize("start", ["", "a", "a/", "a/c", "a/c/", "none/", "z"])
def test_lists_in_byte_order_of_keys(store: Store, start: str) -> None:
    for key in KEYS:
        store.write(key, key.encode())
    want = sorted((key for key in KEYS if key.startswith(start)), key=str.encode)

    assert [info.key for info in store.list(start)] == want
    assert [info.key for info in store.list(start, limit=3)] == want[:3]
    assert {info.size for info in store.list(start)} == {len(key.encode()) for key in want}


def test_lists_more_than_a_page(store: Store) -> None:
    keys = [f"index/{number:04d}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.write(key, b"x"), reversed(keys)))

    assert [info.key for info in store.list("index/")] == keys


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", ".hidden", "a/.b", "a\nb", "x" * 256]
)
def test_refuses_keys_that_leave_or_hide(store: Store, key: str) -> None:
    with pytest.raises(StorageError, match="the key") as caught:
        store.write(key, b"1")
    assert caught.value.where == store.url
    with pytest.raises(StorageError, match="the key"):
        store.read(key)


def test_creates_once(store: Store) -> None:
    etag = store.write("once", b"1", if_absent=True)

    with pytest.raises(ConflictError):
        store.write("once", b"2", if_absent=True)
    assert store.read_tagged("once") == (b"1", etag)


def test_replaces_only_what_was_read(store: Store) -> None:
    first = store.write("a", b"1")
    second = store.write("a", b"2", if_match=first)

    with pytest.raises(ConflictError):
        store.write("a", b"3", if_match=first)
    assert store.read_tagged("a") == (b"2", second)
    with pytest.raises(ConflictError):
        store.write("none", b"3", if_match=first)
    assert store.stat("none") is None


@pytest.mark.parametrize("create", [True, False], ids=["if-absent", "if-match"])
def test_one_of_eight_threads_wins(store: Store, create: bool) -> None:
    for turn in range(2):
        key = f"race-{turn}"
        etag = None if create else store.write(key, b"start")
        gate = threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(_race, gate, store, key, name, etag) for name in range(8)]
            won = [job.result() for job in jobs]
        assert sum(won) == 1
        assert store.read(key) == b"%d" % won.index(True)


def test_one_of_four_processes_wins(store_config: StorageConfig) -> None:
    store = open_store(store_config)
    keys = [f"race-{turn}" for turn in range(4)]
    etags = [None if turn % 2 else store.write(key, b"start") for turn, key in enumerate(keys)]
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(4)
    with context.Pool(4, initializer=_enter, initargs=(gate,)) as pool:
        jobs = [
            pool.apply_async(_contend, (store_config, name, list(zip(keys, etags, strict=True))))
            for name in range(4)
        ]
        won = [job.get(60) for job in jobs]
        pool.close()
        pool.join()
    for turn, key in enumerate(keys):
        winners = [name for name in range(4) if won[name][turn]]
        assert len(winners) == 1
        assert store.read(key) == b"%d" % winners[0]


def _try_write(store: Store, key: str, name: int, etag: str | None) -> bool:
    try:
        store.write(key, b"%d" % name, if_absent=etag is None, if_match=etag)
    except ConflictError:
        return False
    return True


def _race(gate: threading.Barrier, store: Store, key: str, name: int, etag: str | None) -> bool:
    gate.wait()
    return _try_write(store, key, name, etag)


def _enter(gate: threading.Barrier) -> None:
    globals()["_gate"] = gate


def _contend(config: StorageConfig, name: int, turns: list[tuple[str, str | None]]) -> list[bool]:
    store = open_store(config)
    store.stat("warm-up")
    won = []
    for key, etag in turns:
        globals()["_gate"].wait()
        won.append(_try_write(store, key, name, etag))
    return won


@pytest.mark.parametrize("size", [0, 1, MIB + 1])
def test_copies_files_in_and_out(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "in", tmp_path / "new" / "folder" / "out"
    data = pattern(size)
    source.write_bytes(data)
    moved_in: list[int] = []
    moved_out: list[int] = []

    digest = store.upload(source, "files/x", progress=moved_in.append)
    store.download("files/x", target, sha256=digest, progress=moved_out.append)

    assert digest == hashlib.sha256(data).hexdigest()
    assert target.read_bytes() == data
    assert store.read("files/x") == data
    assert (sum(moved_in), sum(moved_out)) == (size, size)
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_copies_a_big_file_with_progress(store: Store, big_file: Path, tmp_path: Path) -> None:
    size = big_file.stat().st_size
    moved_in: list[int] = []
    moved_out: list[int] = []

    digest = store.upload(big_file, "big", progress=moved_in.append)
    store.download("big", tmp_path / "out", progress=moved_out.append)

    assert digest == hashlib.sha256(big_file.read_bytes()).hexdigest()
    assert (tmp_path / "out").read_bytes() == big_file.read_bytes()
    assert (sum(moved_in), sum(moved_out)) == (size, size)
    assert len(moved_in) > 1
    assert len(moved_out) > 1
    assert store.read_range("big", 20 * MIB, 100) == big_file.read_bytes()[20 * MIB :][:100]
    info = store.stat("big")
    assert info is not None
    assert info.size == size
    with pytest.raises(ConflictError):
        store.write("big", b"", if_match="another")
    store.write("big", b"small", if_match=info.etag)


@pytest.mark.parametrize("size", [10, 40 * MIB])
def test_a_wrong_checksum_leaves_no_file(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "in", tmp_path / "out" / "x"
    source.write_bytes(pattern(size))
    store.upload(source, "x")

    with pytest.raises(StorageError, match=r"sha256 [0-9a-f]{64}, not 0000") as caught:
        store.download("x", target, sha256="0" * 64)
    assert caught.value.where == f"{store.url}/x"
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_not_there_is_not_uploaded(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file") as caught:
        store.upload(tmp_path / "none", "x")
    assert caught.value.where == str(tmp_path / "none")
    assert store.stat("x") is None


def test_a_reader_sees_old_or_new_never_a_mixture(store: Store) -> None:
    values = [bytes([letter]) * 300_000 for letter in b"abcd"]
    store.write("x", values[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(30):
            store.write("x", values[turn % 4])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(store.read("x"))
        time.sleep(0.001)
    writer.join()
    assert seen <= set(values)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
