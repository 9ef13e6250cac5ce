"""Fetches a run's files into a folder, each whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.errors import StorageError
from ftctl.runs.published import Offered
from ftctl.storage.base import Progress, Store
from ftctl.storage.files import os_errors
from ftctl.storage.parallel import each

# A large file is spread over threads of its own; of small ones several wait at once.
_FILES_AT_ONCE = 8


@dataclass(frozen=True)
class Fetched:
    """A file that is there now; `moved` is false where it was there already."""

    file: Offered
    path: Path
    moved: bool


def fetch(
    store: Store, files: Sequence[Offered], folder: Path, *, progress: Progress | None = None
) -> list[Fetched]:
    """
    Copy files into a folder, which is made; those there with the right content are left alone.

    A transfer that breaks off is continued by the next call, where the store can.

    Raises:
        StorageError: a file is missing or damaged in the store, or there is no room for it here.
    """
    with os_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    here = each(lambda file: _is_here(folder / file.name, file), files, threads=_FILES_AT_ONCE)
    missing = sum(file.size for file, found in zip(files, here, strict=True) if not found)
    _need_room(folder, missing)

    def copy(item: tuple[Offered, bool]) -> Fetched:
        file, found = item
        path = folder / file.name
        if not found:
            store.download(file.key, path, sha256=file.sha256, progress=progress)
        elif progress:
            progress(file.size)
        return Fetched(file, path, not found)

    return each(copy, zip(files, here, strict=True), threads=_FILES_AT_ONCE)


def _is_here(path: Path, file: Offered) -> bool:
    with os_errors(str(path)):
        return (
            file.sha256 is not None
            and path.is_file()
            and path.stat().st_size == file.size
            and file_sha256(path) == file.sha256
        )


def _need_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise StorageError(
            f"{wanted / 1e9:.1f} GB are to be fetched, and {free / 1e9:.1f} GB are free",
            where=str(folder),
            hint="Free some space, or choose another folder with -o.",
        )
