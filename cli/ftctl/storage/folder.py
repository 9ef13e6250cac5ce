"""A store in a folder: each object a file, replaced by a rename."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from ftctl.storage.base import ConflictError, NotFoundError, ObjectInfo, Progress, Unfinished
from ftctl.storage.files import (
    SCRATCH,
    copy_hashed,
    folder_to_disk,
    mismatch,
    os_error,
    os_errors,
    scratch_file,
    to_disk,
)
from ftctl.storage.keys import check_key

_LOCK = ".lock"
# Above this an etag comes from the file's size, time and number: a listing reads no model.
# Below, from its content: two writes within one tick of the clock must not look the same.
_HASHED_BYTES = 2**20


class FolderStore:
    """
    Objects as files below one folder, which is made at the first write.

    A reader sees an old object or a new one, never a part. Conditions are checked and met under
    a lock, so of several processes one wins. Hidden files are not objects.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()
        self.url = str(self._root)

    def read(self, key: str) -> bytes:
        return self.read_tagged(key)[0]

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        with self._reading(key) as path, path.open("rb") as file:
            data = file.read()
            return data, _etag(os.fstat(file.fileno()), data)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._reading(key) as path, path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def write(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        target = self._path(key)
        with os_errors(self._where(key)), scratch_file(target) as file:
            file.write(data)
            to_disk(file)
            return self._commit(Path(file.name), key, if_absent=if_absent, if_match=if_match)

    def stat(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with os_errors(self._where(key)):
            return _info(path, key)

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        base = self._path(folder) if folder else self._root
        with os_errors(self.url):
            keys = _walk(base, f"{folder}/" if folder else "", prefix)
            infos = (_info(self._root / key, key) for key in keys)
            yield from islice((info for info in infos if info), limit)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with os_errors(self._where(key)):
            try:
                with self._locked():
                    path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            self._remove_empty(path.parent)

    def upload(self, path: Path, key: str, *, progress: Progress | None = None) -> str:
        target = self._path(key)
        with os_errors(str(path)):
            source = path.open("rb")
        with source, os_errors(self._where(key)), scratch_file(target) as file:
            digest = copy_hashed(source, file, progress)
            to_disk(file)
            self._commit(Path(file.name), key)
        return digest

    def download(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        with self._reading(key) as stored:
            source = stored.open("rb")
        with source, os_errors(str(path)), scratch_file(path) as file:
            found = copy_hashed(source, file, progress)
            if sha256 and found != sha256:
                raise mismatch(found, sha256, self._where(key))
            file.flush()
            os.replace(file.name, path)

    def unfinished(self) -> Iterator[Unfinished]:
        with os_errors(self.url):
            for path in sorted(self._root.rglob(".*")):
                if SCRATCH.fullmatch(path.name):
                    stat = path.stat()
                    started = datetime.fromtimestamp(stat.st_mtime, UTC)
                    folder = path.parent.relative_to(self._root).as_posix()
                    yield Unfinished(f"{folder}/", path.name, stat.st_size, started)

    def discard(self, unfinished: Unfinished) -> None:
        path = self._root / unfinished.key / unfinished.name
        with os_errors(self.url):
            path.unlink(missing_ok=True)
            self._remove_empty(path.parent)

    def _commit(
        self, scratch: Path, key: str, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        target = self._path(key)
        with self._locked():
            if if_absent or if_match is not None:
                present = _info(target, key)
                self._check(key, present, if_absent=if_absent, if_match=if_match)
            os.replace(scratch, target)
            written = _info(target, key)
        folder_to_disk(target.parent)
        return written.etag if written else ""

    def _check(
        self, key: str, present: ObjectInfo | None, *, if_absent: bool, if_match: str | None
    ) -> None:
        if if_absent and present:
            raise ConflictError("the object exists already", where=self._where(key))
        if if_match is not None and (present is None or present.etag != if_match):
            raise ConflictError("the object is not the one that was read", where=self._where(key))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # flock, not lockf: the latter does not keep threads of one process apart.
        descriptor = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        try:
            yield path
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if self._root.exists() and not self._root.is_dir():
                raise os_error(error, self.url) from error
            raise NotFoundError("there is no such object", where=self._where(key)) from error
        except OSError as error:
            raise os_error(error, self._where(key)) from error

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    def _path(self, key: str) -> Path:
        return self._root / check_key(key, where=self.url)

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}"


def _walk(folder: Path, key: str, prefix: str) -> Iterator[str]:
    """Keys of the files below `folder`, whose own key is `key`, in byte order."""
    try:
        with os.scandir(folder) as entries:
            # S3 compares whole keys, so a folder sorts as if its name ended with the slash.
            names = [
                entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                for entry in entries
                if not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return
    for name in sorted(names, key=os.fsencode):
        here = key + name
        if name.endswith("/"):
            if here.startswith(prefix) or prefix.startswith(here):
                yield from _walk(folder / name, here, prefix)
        elif here.startswith(prefix):
            yield here


def _info(path: Path, key: str) -> ObjectInfo | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            data = file.read() if stat.st_size <= _HASHED_BYTES else b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
    return ObjectInfo(key, stat.st_size, _etag(stat, data), modified)


def _etag(stat: os.stat_result, data: bytes) -> str:
    if stat.st_size <= _HASHED_BYTES:
        return hashlib.sha256(data).hexdigest()
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}-{stat.st_ino:x}"
