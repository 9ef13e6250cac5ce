"""From what `dataset.train` and its like say to the files they mean."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ftctl.contract.operational import StorageConfig
from ftctl.contract.paths import expanded
from ftctl.data.objects import ObjectStore, OpenStore
from ftctl.data.raw import Source
from ftctl.errors import ConfigError, DataError

S3 = "s3://"
_WILD = "*?["
_EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Places:
    """Where relative names are looked for, in this order, and how object stores are opened."""

    folders: tuple[Path, ...]
    storage: StorageConfig
    open_store: OpenStore | None = None


def find_sources(wanted: Sequence[str], places: Places, *, key: str) -> list[Source]:
    """
    The files that names, globs and s3:// URLs mean, each once, globs in order of name.

    Args:
        key: the configuration key that they come from, for messages.
    Raises:
        DataError: a file is missing (names the nearest one), or a glob matches nothing.
        ConfigError: an s3:// URL without a bucket or key.
    """
    found: dict[str, Source] = {}
    for name in wanted:
        sources = _objects(name, places, key) if name.startswith(S3) else _files(name, places, key)
        for source in sources:
            found.setdefault(source.name, source)
    return list(found.values())


def _files(name: str, places: Places, key: str) -> list[Source]:
    path = expanded(name, key)
    candidates = [path] if path.is_absolute() else [folder / path for folder in places.folders]
    for candidate in candidates:
        if candidate.is_file():
            return [_source(candidate, places)]
        if candidate.is_dir():
            raise DataError(
                f"{name} is a folder",
                where=key,
                hint=f"Name its files: '{name.rstrip('/')}/*.jsonl'.",
            )
        if any(char in name for char in _WILD):
            matches = sorted(glob.glob(str(candidate), recursive=True))
            if files := [
                _source(Path(match), places) for match in matches if os.path.isfile(match)
            ]:
                return files
    raise _missing(name, candidates, key)


def _source(path: Path, places: Places) -> Source:
    shown = path.relative_to(places.folders[0]) if path.is_relative_to(places.folders[0]) else path
    return Source(str(shown), partial(_open_file, path))


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _missing(name: str, candidates: Sequence[Path], key: str) -> DataError:
    looked = "Looked in: " + ", ".join(str(candidate.parent) for candidate in candidates) + "."
    if any(char in name for char in _WILD):
        return DataError(f"no file matches {name!r}", where=key, hint=looked)
    nearest = _nearest(Path(name).name, [candidate.parent for candidate in candidates])
    meant = f" Did you mean {nearest}?" if nearest else ""
    return DataError(f"there is no file {name!r}", where=key, hint=looked + meant)


def _nearest(name: str, folders: Sequence[Path]) -> Path | None:
    near = [
        entry
        for folder in folders
        if folder.is_dir()
        for entry in sorted(folder.iterdir())
        if entry.suffix.lower() in _EXTENSIONS
    ]
    names = difflib.get_close_matches(name, [entry.name for entry in near], n=1, cutoff=0.5)
    return next((entry for entry in near if names and entry.name == names[0]), None)


def _objects(url: str, places: Places, key: str) -> list[Source]:
    bucket, _, path = url.removeprefix(S3).partition("/")
    if not bucket or not path or path.endswith("/"):
        raise ConfigError(
            f"{url!r} names no object", where=key, hint="Write s3://BUCKET/FOLDER/FILE.jsonl."
        )
    if places.open_store is None:
        raise ConfigError(f"{url!r} cannot be read here: no object store is open", where=key)
    folder, _, name = path.rpartition("/")
    while any(char in folder for char in _WILD):
        folder, _, last = folder.rpartition("/")
        name = f"{last}/{name}"
    root = f"{S3}{bucket}/{folder}".rstrip("/")
    store = places.open_store(places.storage.model_copy(update={"url": root}))
    keys = _matching(store, name)
    if not keys:
        raise DataError(f"no object matches {url!r}", where=key)
    return [Source(f"{root}/{each}", partial(_open_object, store, each)) for each in keys]


def _matching(store: ObjectStore, name: str) -> list[str]:
    if not any(char in name for char in _WILD):
        return [name] if store.stat(name) is not None else []
    prefix = name[: min(name.index(char) for char in _WILD if char in name)]
    return [listed.key for listed in store.list(prefix) if fnmatch.fnmatchcase(listed.key, name)]


def _open_object(store: ObjectStore, key: str) -> io.BytesIO:
    return io.BytesIO(store.read(key))
