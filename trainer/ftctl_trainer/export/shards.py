"""Bytes of a safetensors file by range, wherever the file is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ftctl.errors import RunFailedError


class Shard(Protocol):
    """One safetensors file; `size` is in bytes, `where` is its path or URL."""

    name: str
    where: str
    size: int

    def read(self, start: int, length: int) -> bytes:
        """Return exactly these bytes. Raises RunFailedError or StorageError."""


class FileShard:
    """A file of this machine, which the system reads ahead by itself."""

    def __init__(self, path: Path) -> None:
        self.name, self.where = path.name, str(path)
        self._path = path
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise unreadable(self.where, error) from error

    def read(self, start: int, length: int) -> bytes:
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(start)
                found = file.read(length)
                while len(found) < length and (more := file.read(length - len(found))):
                    found += more  # Linux reads at most 2 GiB at once
        except OSError as error:
            raise unreadable(self.where, error) from error
        return whole(found, length, self.where)


def whole(found: bytes, length: int, where: str) -> bytes:
    """Return `found`, if it is `length` bytes. Raises RunFailedError."""
    if len(found) != length:
        raise RunFailedError(f"cut short: {len(found)} bytes of {length} came", where=where)
    return found


def unreadable(where: str, error: OSError) -> RunFailedError:
    """The error for a file that the operating system does not let us read."""
    return RunFailedError(f"not a readable file: {error.strerror or error}", where=where)
