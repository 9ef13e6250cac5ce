"""
Shards of a store or a hub, read by range: blocks fetched ahead in threads, each shard held to its
sha256.

A pass over a model goes through its shards from front to back, with few exceptions. So a block
that is asked for brings those behind it along, and the last ones stay for a while: a tensor may be
read twice, with its update and without. What is held is bounded in bytes, whatever the order.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ftctl.contract.lineage import FileRecord
from ftctl.storage.base import Ranged
from ftctl_trainer.export.checksums import Checksums
from ftctl_trainer.export.shards import Shard, whole

MIB = 2**20
BLOCK_BYTES = 8 * MIB
# Eight requests at once hide 50 ms of latency at 500 MB/s.
AHEAD_BLOCKS = 8
# The largest matrix of an 8B model in 16 bits is 117 MB.
KEPT_BLOCKS = 24


@dataclass(frozen=True)
class _Block:
    shard: int
    start: int
    length: int


class RemoteShards:
    """Safetensors files below a prefix of a place, as shards. Safe to use from several threads."""

    def __init__(
        self,
        place: Ranged,
        prefix: str,
        files: Sequence[FileRecord],
        checksums: Checksums,
        *,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """
        Args:
            files: in the order that they are read in; size and sha256 are those to expect.
            checksums: where it is noted that a shard has the sha256 it should have.
        """
        self._place, self._prefix, self._files = place, prefix, list(files)
        self._block_bytes = block_bytes
        self._plan = [
            _Block(number, start, min(block_bytes, file.size - start))
            for number, file in enumerate(self._files)
            for start in range(0, file.size, block_bytes)
        ]
        self._first = {block.shard: n for n, block in enumerate(self._plan) if block.start == 0}
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._last, self._streak = -2, 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AHEAD_BLOCKS, thread_name_prefix="ftctl-shards")
        self._digests = [
            checksums.of(file, self._where(number), partial(self._fetch, number))
            for number, file in enumerate(self._files)
        ]

    def shards(self) -> list[Shard]:
        """All files, by number."""
        return [
            RemoteShard(self, number, file.name, self._where(number), file.size)
            for number, file in enumerate(self._files)
        ]

    @property
    def held_blocks(self) -> int:
        """Blocks in memory, or on their way."""
        return len(self._blocks)

    def read(self, shard: int, start: int, length: int) -> bytes:
        """Return exactly these bytes of a file. Raises StorageError, also for a wrong sha256."""
        parts = []
        position, end = start, start + length
        while position < end:
            offset, inside = divmod(position, self._block_bytes)
            block = self._block(self._first[shard] + offset)
            part = memoryview(block)[inside : inside + end - position]
            parts.append(part)
            position += len(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def _block(self, number: int) -> bytes:
        with self._lock:
            wanted = self._submitted(number)
            for later in range(number + 1, number + 1 + self._ahead(number)):
                self._submitted(later)
            self._blocks.move_to_end(number)
            while len(self._blocks) > AHEAD_BLOCKS + KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        content = wanted.result()
        block = self._plan[number]
        self._digests[block.shard].take(block.start, content)
        return content

    def _ahead(self, number: int) -> int:
        """
        How many blocks to fetch behind this one: the more, the longer it went straight on.

        After a jump there is none, as after a header, whose tensors are wanted much later.
        """
        if number == self._last + 1:
            self._streak = min(2 * self._streak + 1, AHEAD_BLOCKS)
        elif number != self._last:
            self._streak = 0
        self._last = number
        return min(self._streak, len(self._plan) - 1 - number)

    def _submitted(self, number: int) -> Future[bytes]:
        if number not in self._blocks:
            block = self._plan[number]
            self._blocks[number] = self._pool.submit(
                self._fetch, block.shard, block.start, block.length
            )
        return self._blocks[number]

    def _fetch(self, shard: int, start: int, length: int) -> bytes:
        key = self._prefix + self._files[shard].name
        found = self._place.read_range(key, start, length)
        return whole(found, length, self._where(shard))

    def _where(self, shard: int) -> str:
        return f"{self._place.url}/{self._prefix}{self._files[shard].name}"


@dataclass
class RemoteShard:
    """One of them."""

    _shards: RemoteShards
    _number: int
    name: str
    where: str
    size: int

    def read(self, start: int, length: int) -> bytes:
        return self._shards.read(self._number, start, length)


def check_rest(
    place: Ranged, prefix: str, files: Sequence[FileRecord], checksums: Checksums
) -> None:
    """
    Read the shards whose sha256 is not known yet, as those that no pass has read to their end.

    Raises:
        DamagedError: a shard has another sha256.
    """
    rest = [file for file in files if not checksums.knows(file)]
    for shard in RemoteShards(place, prefix, rest, checksums).shards():
        for start in range(0, shard.size, BLOCK_BYTES):
            shard.read(start, min(BLOCK_BYTES, shard.size - start))
