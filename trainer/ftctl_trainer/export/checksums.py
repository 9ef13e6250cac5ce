"""The sha256 of shards that are read by range, computed along with the reading."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ftctl.contract.lineage import FileRecord
from ftctl.storage.files import mismatch

# Fetches `length` bytes from `start`.
Fetch = Callable[[int, int], bytes]

# Blocks that may wait to be hashed, over all shards: a reader that is faster waits for them.
_WAITING = 4
_GAP_BYTES = 8 * 2**20


class Checksums:
    """Which shards are known to have their sha256: notes in a folder, which processes share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ftctl-sha256")
        self._room = threading.Semaphore(_WAITING)

    def of(self, file: FileRecord, where: str, fetch: Fetch) -> ShardDigest:
        """What is to be shown a shard's blocks; `fetch` brings those that no reader wanted."""
        return ShardDigest(file, where, fetch, self)

    def knows(self, file: FileRecord) -> bool:
        """Whether a shard was read to its end, and is what it should be."""
        return (self._folder / file.sha256).exists()

    def note(self, file: FileRecord) -> None:
        """Say so."""
        self._folder.mkdir(exist_ok=True)
        (self._folder / file.sha256).touch()

    def submit(self, action: Callable[[], None]) -> Future[None]:
        """Have a block hashed, in the order of the calls."""
        self._room.acquire()
        future = self._pool.submit(action)
        future.add_done_callback(lambda _: self._room.release())
        return future


class ShardDigest:
    """The sha256 of one shard, in the order of its bytes whatever the order they are read in."""

    def __init__(self, file: FileRecord, where: str, fetch: Fetch, checksums: Checksums) -> None:
        self._file, self._where, self._fetch, self._checksums = file, where, fetch, checksums
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._seen = 0
        self._over = checksums.knows(file)
        self._lock = threading.Lock()

    def take(self, start: int, block: bytes) -> None:
        """
        Take a block in, unless it was.

        Raises:
            DamagedError: it was the last one, and the shard is not what it should be.
        """
        end = start + len(block)
        with self._lock:
            if self._over or end <= self._seen:
                return
            self._seen = end
            self._over = end == self._file.size
        future = self._checksums.submit(lambda: self._add(start, block))
        if end == self._file.size:
            future.result()

    def _add(self, start: int, block: bytes) -> None:
        if start < self._hashed:
            return  # a reader of another thread came with a later block, and this one was a gap
        while self._hashed < start:
            gap = self._fetch(self._hashed, min(_GAP_BYTES, start - self._hashed))
            self._digest.update(gap)
            self._hashed += len(gap)
        self._digest.update(block)
        self._hashed += len(block)
        if self._hashed == self._file.size:
            if (found := self._digest.hexdigest()) != self._file.sha256:
                raise mismatch(found, self._file.sha256, self._where)
            self._checksums.note(self._file)
