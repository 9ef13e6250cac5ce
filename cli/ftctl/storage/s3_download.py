"""Copies an object to a file: parallel ranges into a hidden file, then a rename."""

from __future__ import annotations

import base64
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from ftctl.storage.base import Progress
from ftctl.storage.files import mismatch
from ftctl.storage.parallel import abandon
from ftctl.storage.s3_client import unbroken
from ftctl.storage.s3_parts import THREADS, Part, S3Object, plan

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef


def download_file(
    source: S3Object,
    path: Path,
    pool: Executor,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> None:
    """
    Copy an object to a file and check it: by `sha256`, else by the checksum that S3 keeps.

    An attempt that breaks off leaves what it has in a hidden file, and the next one of the same
    object goes on with it.

    Raises:
        StorageError: the content does not have the checksum.
        ClientError, BotoCoreError, OSError: translated by the caller.
    """
    head = source.client.head_object(**source.address, ChecksumMode="ENABLED")
    parts = plan(head["ContentLength"])
    checksum = _Checksum(sha256, head, parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Partial(path, head["ETag"]) as partial:

        def fetch(part: Part) -> Future[None]:
            return pool.submit(_fetch, source, head["ETag"], part, partial, progress)

        _gather(parts, fetch, partial, checksum)
        if checksum.found != checksum.wanted:
            partial.drop()
            where = f"s3://{source.bucket}/{source.key}"
            raise mismatch(checksum.found or "", checksum.wanted or "", where)
        partial.rename()


# Small enough for a core's cache: fetched, written and hashed without new memory each time.
_BLOCK_BYTES = 256 * 1024


class _Checksum:
    """
    The sha256 that an object must have, over its content or over its parts' digests.

    S3 keeps the latter, as `base64-count`, for what came in parts; ours are those of `plan`.
    """

    def __init__(
        self, sha256: str | None, head: HeadObjectOutputTypeDef, parts: list[Part]
    ) -> None:
        kept, _, count = head.get("ChecksumSHA256", "").partition("-")
        known = kept if count in ("", str(len(parts))) else ""
        self.wanted = sha256 or base64.b64decode(known).hex() or None
        self._of_parts = not sha256 and bool(count)
        self._digest = hashlib.sha256()

    def add(self, blocks: Iterator[bytes]) -> None:
        """Take in the next part."""
        into = hashlib.sha256() if self._of_parts else self._digest
        for block in blocks:
            into.update(block)
        if self._of_parts:
            self._digest.update(into.digest())

    @property
    def found(self) -> str | None:
        return self._digest.hexdigest() if self.wanted else None


class _Partial:
    """A hidden file that fills up, with a journal of the parts that are in it."""

    def __init__(self, path: Path, etag: str) -> None:
        tag = hashlib.sha256(etag.encode()).hexdigest()[:16]
        self._path = path
        self._file = path.with_name(f".{path.name[:200]}.{tag}.part")
        self._journal = self._file.with_suffix(".done")

    def __enter__(self) -> _Partial:
        self.done = self._read_journal()
        self._data = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC
        self._log = os.open(self._journal, flags, 0o666)
        # Again, without a line that was broken off: the next would be taken as its end.
        for number in self.done:
            self._note(number)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        os.close(self._data)
        os.close(self._log)
        # A timeout of the client is an OSError too; what was fetched until then is kept.
        no_disk = isinstance(error, OSError) and not isinstance(error, BotoCoreError)
        if no_disk or not self._read_journal():
            self.drop()

    def write(self, block: bytes, position: int) -> None:
        """Put bytes in their place. Raises OSError."""
        while block:
            written = os.pwrite(self._data, block, position)
            block, position = block[written:], position + written

    def note(self, part: Part) -> None:
        """Say that a part is whole."""
        self._note(part.number)

    def read(self, part: Part) -> Iterator[bytes]:
        """Yield a part as it is in the file, in blocks."""
        end = part.start + part.size
        for position in range(part.start, end, _BLOCK_BYTES):
            yield os.pread(self._data, min(_BLOCK_BYTES, end - position), position)

    def rename(self) -> None:
        """Make the file the one that was asked for."""
        os.replace(self._file, self._path)
        self._journal.unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove the hidden files."""
        self._file.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def _note(self, number: int) -> None:
        os.write(self._log, b"%d\n" % number)

    def _read_journal(self) -> set[int]:
        if not (self._file.exists() and self._journal.exists()):
            return set()
        lines = self._journal.read_text(encoding="utf-8").splitlines(keepends=True)
        return {int(line) for line in lines if line.endswith("\n")}


def _fetch(
    source: S3Object, etag: str, part: Part, partial: _Partial, progress: Progress | None
) -> None:
    if part.number not in partial.done:
        last = part.start + part.size - 1

        def get() -> None:
            answer = source.client.get_object(
                **source.address, Range=f"bytes={part.start}-{last}", IfMatch=etag
            )
            position = part.start
            for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
                partial.write(block, position)
                position += len(block)

        unbroken(get)
        partial.note(part)
    if progress:
        progress(part.size)


# Parts that are asked for before the checksum has come to them: more than there are threads, so
# that one slow answer holds up no other, but not all. Where the server is as fast as the machine,
# fetching would take the cores from the hashing, which would then be left to one of them.
_AHEAD = THREADS + THREADS // 2


def _gather(
    parts: list[Part],
    fetch: Callable[[Part], Future[None]],
    partial: _Partial,
    checksum: _Checksum,
) -> None:
    following = ((part, fetch(part)) for part in parts)
    ahead = deque(islice(following, _AHEAD))
    try:
        while ahead:
            part, future = ahead[0]
            future.result()
            if checksum.wanted:
                checksum.add(partial.read(part))
            ahead.popleft()
            ahead.extend(islice(following, 1))
    finally:
        abandon(future for _, future in ahead)
