"""What a store can do. A folder and S3 do it alike; one contract test holds both to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ftctl.errors import StorageError

# Called with the number of bytes that moved since the last call; from several threads.
Progress = Callable[[int], None]


class NotFoundError(StorageError):
    """There is no object of this key."""


class DamagedError(StorageError):
    """An object is there, but its content is not what was stored."""


class ConflictError(StorageError):
    """A conditional write lost: the object exists, or is not the one that was read."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it. `key` is below the store's prefix; `size` is in bytes."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Unfinished:
    """
    What a write that was broken off has left. No listing shows it, and yet it takes room.

    Attributes:
        key: what was to be written; of a folder's, the folder's key alone is known.
        name: tells it from others of the same key.
    """

    key: str
    name: str
    size: int
    started: datetime


class Ranged(Protocol):
    """A place whose files are read by range: a store, or a model of the hub."""

    url: str

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer at the end. Raises NotFoundError."""


class Readable(Ranged, Protocol):
    """The part of a store that those need who only read from it."""

    def read(self, key: str) -> bytes:
        """Return an object. Raises NotFoundError."""


class Store(Protocol):
    """
    Objects by key, written whole or not at all.

    Keys are relative, `/`-separated, without `.` or `..`. Every method raises StorageError with
    the URL concerned and what to do: wrong keys, no such bucket, no permission, disk full.
    Passing trouble (timeouts, 5xx, throttling) is retried with backoff before it is raised.
    """

    url: str

    def read(self, key: str) -> bytes:
        """Return an object. Raises NotFoundError."""

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        """Return an object and its etag, for a conditional write. Raises NotFoundError."""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`, fewer at the end. Raises NotFoundError."""

    def write(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Write an object whole; return its etag. Raises ConflictError if the condition fails."""

    def stat(self, key: str) -> ObjectInfo | None:
        """Describe an object, or return None."""

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield objects whose key starts with `prefix`, in key order (bytes)."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def upload(self, path: Path, key: str, *, progress: Progress | None = None) -> str:
        """Copy a file in, checksummed, large ones in parallel parts; return its sha256 (hex)."""

    def download(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        """
        Copy an object to a file, by a temporary name and a rename.

        Raises:
            NotFoundError: there is no such object.
            StorageError: the content does not have `sha256`, where given.
        """

    def unfinished(self) -> Iterator[Unfinished]:
        """Yield what writes that were broken off, or are still going on, have in the store."""

    def discard(self, unfinished: Unfinished) -> None:
        """Remove what such a write has left; one that is gone is no error."""
