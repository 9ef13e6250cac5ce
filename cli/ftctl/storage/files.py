"""Files written whole or not at all, and what the operating system's refusals mean."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ftctl.errors import StorageError
from ftctl.storage.base import DamagedError, Progress

COPY_BYTES = 4 * 2**20
# Names of the hidden files that `scratch_file` makes.
SCRATCH = re.compile(r"\.[0-9a-f]{32}\.tmp")
# A folder can vanish between its creation and the file's: a delete elsewhere emptied it.
_CREATE_ATTEMPTS = 5

# Error numbers, what they mean, and what to do.
_MEANINGS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "no space is left to write this{path}: {reason}",
        "Free some space or raise the quota, or choose another place with storage.url.",
    ),
    (
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "permission denied{path}: {reason}",
        "Make the folder writable for this user, or choose another with storage.url.",
    ),
    (
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        "a file stands where a folder is needed, or the reverse{path}",
        "Move it away, or choose another place with storage.url.",
    ),
    (
        (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP),
        "this file system has no file locks: {reason}",
        "Keep the store on one that has them, or in S3 (storage.url).",
    ),
)
_OTHER = ("the operating system refused{path}: {reason}", "Check the disk and the path.")


@contextmanager
def os_errors(where: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError at `where`."""
    try:
        yield
    except OSError as error:
        raise os_error(error, where) from error


def os_error(error: OSError, where: str) -> StorageError:
    """Say what an OSError means for somebody who stores files at `where`."""
    path = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or type(error).__name__
    known = (rest for numbers, *rest in _MEANINGS if error.errno in numbers)
    what, hint = next(known, _OTHER)
    return StorageError(what.format(path=path, reason=reason), where=where, hint=hint)


@contextmanager
def scratch_file(target: Path) -> Iterator[BinaryIO]:
    """Open a new file beside `target`, under a hidden name; gone afterwards unless renamed."""
    path = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with _create(path) as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def to_disk(file: BinaryIO) -> None:
    """Hand all that was written to the disk itself: a rename must not outlive its content."""
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: Path) -> None:
    """Make renames within a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_hashed(source: BinaryIO, target: BinaryIO, progress: Progress | None) -> str:
    """Copy to the end; return the sha256 (hex) of what was copied."""
    digest = hashlib.sha256()
    while block := source.read(COPY_BYTES):
        target.write(block)
        digest.update(block)
        if progress:
            progress(len(block))
    return digest.hexdigest()


def mismatch(found: str, wanted: str, where: str) -> DamagedError:
    """The failure of content that is not what was stored."""
    return DamagedError(
        f"the content has sha256 {found}, not {wanted}",
        where=where,
        hint="It was damaged or replaced. Write it again, or try once more.",
    )


def _create(path: Path) -> BinaryIO:
    for attempt in range(_CREATE_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("xb")
        except FileNotFoundError:
            if attempt == _CREATE_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")
