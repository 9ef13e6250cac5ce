"""Files in, files out, and the marker that says a prefix is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from ftctl.contract import layout
from ftctl.contract.checksum import file_sha256
from ftctl.contract.lineage import FileRecord, Marker
from ftctl.contract.status import now
from ftctl.errors import StorageError
from ftctl.storage.base import DamagedError, NotFoundError, ObjectInfo, Progress, Readable, Store
from ftctl.storage.files import os_errors
from ftctl.storage.keys import check_key
from ftctl.storage.parallel import each

# Small files wait for answers, not for bandwidth; a large one spreads over threads of its own.
_FILES_AT_ONCE = 8


def write_marker(store: Store, prefix: str, files: Sequence[FileRecord], fence: int) -> Marker:
    """
    Say that all of `prefix` is there, after looking that each file is, with its size.

    Raises:
        StorageError: a file is missing or has another size; no marker is written.
    """
    each(lambda file: _look(store, prefix, file), files)
    content = Marker(files=list(files), fence=fence, written=now())
    store.write(layout.marker(prefix), content.model_dump_json(indent=2).encode())
    return content


def read_marker(store: Readable, prefix: str) -> Marker | None:
    """Return the marker of `prefix`, or None: then nothing below it may be trusted."""
    try:
        content = store.read(layout.marker(prefix))
    except NotFoundError:
        return None
    try:
        return Marker.model_validate_json(content)
    except ValidationError as error:
        raise StorageError(
            "the marker is damaged",
            where=_where(store, layout.marker(prefix)),
            hint="Delete it and let the stage that wrote it run again.",
        ) from error


def upload_folder(
    store: Store, folder: Path, prefix: str, *, progress: Progress | None = None
) -> list[FileRecord]:
    """
    Copy all files below a folder to `prefix`, hidden ones left out; return them by name.

    A marker that stands there goes first: it must not cover what is being replaced. What it
    covers and is the same here, is left: an attempt that was killed had put it.

    Args:
        prefix: ends with a slash.
    """
    with os_errors(str(folder)):
        paths = _files(folder)
    there = _covered(store, prefix)
    store.delete(layout.marker(prefix))

    def upload(path: Path) -> FileRecord:
        name = path.relative_to(folder).as_posix()
        if (
            (known := there.get(name))
            and _is_here(path, known)
            and _fits(store.stat(prefix + name), known)
        ):
            if progress:
                progress(known.size)
            return known
        digest = store.upload(path, prefix + name, progress=progress)
        return FileRecord(name=name, size=path.stat().st_size, sha256=digest)

    return each(upload, paths, threads=_FILES_AT_ONCE)


def download_folder(
    store: Store,
    prefix: str,
    folder: Path,
    *,
    only: Callable[[FileRecord], bool] = lambda file: True,
    progress: Progress | None = None,
) -> Marker:
    """
    Copy what the marker of `prefix` covers into a folder, each file checked against its sha256.

    Files that are there already, with the right content, are left alone.

    Args:
        only: which of the files to copy.
    Raises:
        NotFoundError: there is no marker.
        StorageError: a file is missing or does not have its sha256.
    """
    content = read_marker(store, prefix)
    if content is None:
        raise NotFoundError(
            f"it is not complete: {layout.COMPLETE} is missing",
            where=_where(store, prefix),
            hint="The stage that writes it has not finished. Resume the run.",
        )

    def download(file: FileRecord) -> None:
        path = folder / check_key(file.name, where=_where(store, prefix))
        if _is_here(path, file):
            if progress:
                progress(file.size)
            return
        try:
            store.download(prefix + file.name, path, sha256=file.sha256, progress=progress)
        except (NotFoundError, DamagedError) as error:
            raise _changed(store, prefix, error) from error

    each(download, filter(only, content.files), threads=_FILES_AT_ONCE)
    return content


def _covered(store: Store, prefix: str) -> dict[str, FileRecord]:
    """What the marker of `prefix` covers, by name; a damaged marker covers nothing."""
    try:
        content = read_marker(store, prefix)
    except StorageError:
        return {}
    return {file.name: file for file in content.files} if content else {}


def _look(store: Store, prefix: str, file: FileRecord) -> None:
    found = store.stat(prefix + file.name)
    if not _fits(found, file):
        state = f"has {found.size} bytes" if found else "is missing"
        raise StorageError(
            f"the file {state}, where {file.size} bytes were written",
            where=_where(store, prefix + file.name),
            hint="Something else changed it. Upload it again.",
        )


def _fits(found: ObjectInfo | None, file: FileRecord) -> bool:
    return found is not None and found.size == file.size


def _changed(store: Store, prefix: str, error: StorageError) -> StorageError:
    marker = _where(store, layout.marker(prefix))
    return StorageError(
        f"{error.what}, though {layout.COMPLETE} covers it",
        where=error.where,
        hint=f"Something changed it since. Delete {marker} and resume the run (of a base model: "
        "submit it again), and what wrote it does so again.",
    )


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise StorageError("there is no such folder", where=str(folder))
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _is_here(path: Path, file: FileRecord) -> bool:
    with os_errors(str(path)):
        return (
            path.is_file() and path.stat().st_size == file.size and file_sha256(path) == file.sha256
        )


def _where(store: Readable, key: str) -> str:
    return f"{store.url}/{key}"
