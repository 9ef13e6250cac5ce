"""Base models that no hub has: in the store by their content, for machines they are not on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftctl.contract.layout import ModelLayout
from ftctl.contract.lineage import FileRecord
from ftctl.contract.modelfiles import WEIGHTS_SUFFIX, files_revision, model_files
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError, StorageError
from ftctl.storage.base import Progress, Store
from ftctl.storage.markers import download_folder, read_marker, write_marker
from ftctl.storage.parallel import each

# A model is no run's, so no lease stands over it: two writers write the same bytes.
_NO_FENCE = 0
# Small files beside the shards; a large one spreads over threads of its own.
_FILES_AT_ONCE = 4


def has_model(store: Store, source: ModelSource) -> bool:
    """Whether pods can have this model without us: it is a hub's, or complete in the store."""
    return source.kind == "hub" or read_marker(store, _root(source)) is not None


def push_model(store: Store, source: ModelSource, progress: Progress | None = None) -> None:
    """
    Put a model of this machine into the store, unless it is there; the marker comes last.

    Args:
        progress: called with bytes that moved; the whole is `model_bytes(source)`.
    Raises:
        ConfigError: the files are no longer those that `source` was made from.
        StorageError: the store refused.
    """
    if has_model(store, source):
        return
    root = _root(source)

    def upload(path: Path) -> FileRecord:
        digest = store.upload(path, root + path.name, progress=progress)
        return FileRecord(name=path.name, size=path.stat().st_size, sha256=digest)

    files = each(upload, _files(source), threads=_FILES_AT_ONCE)
    found = _revision(source, files)
    if found != source.revision:
        raise ConfigError(
            f"the model changed: its sha256 is {found}, the run was made for {source.revision}",
            where=source.path,
            hint="Submit the run again when nothing writes there.",
        )
    write_marker(store, root, files, _NO_FENCE)


def pull_model(
    store: Store, source: ModelSource, folder: Path, progress: Progress | None = None
) -> None:
    """
    Copy a model's files from the store into a folder, each checked against its sha256.

    An attempt that broke off is gone on with, if `folder` still has what it left.

    Raises:
        NotFoundError: the store does not have the model.
        StorageError: the store's copy is damaged, or is another model.
    """
    root = _root(source)
    found = _revision(source, download_folder(store, root, folder, progress=progress).files)
    if found != source.revision:
        raise StorageError(
            f"this is another model: its sha256 is {found}",
            where=f"{store.url}/{root}",
            hint="Delete it there and submit the run again.",
        )


def pull_companions(
    store: Store, source: ModelSource, folder: Path
) -> tuple[str, list[FileRecord]]:
    """
    Copy a stored model's small files into a folder; return where the shards are, and which.

    The records' sha256 are the model's: whoever reads a shard by range holds it to its own.

    Raises: as `pull_model`.
    """
    root = _root(source)
    found = read_marker(store, root)
    if found is None or _revision(source, found.files) != source.revision:
        raise StorageError(
            "the store does not have this model",
            where=f"{store.url}/{root}",
            hint="Submit the run again: it uploads the model.",
        )
    shards = [file for file in found.files if file.name.endswith(WEIGHTS_SUFFIX)]
    download_folder(store, root, folder, only=lambda file: not file.name.endswith(WEIGHTS_SUFFIX))
    return root, shards


def model_bytes(source: ModelSource) -> int:
    """Size of what `push_model` uploads if the store has none of it; 0 for a hub's model."""
    return 0 if source.kind == "hub" else sum(path.stat().st_size for path in _files(source))


def _files(source: ModelSource) -> list[Path]:
    path = Path(source.path or "")
    return [path] if source.kind == "gguf" else model_files(path)


def _revision(source: ModelSource, files: Sequence[FileRecord]) -> str:
    if source.kind == "gguf" and len(files) == 1:
        return files[0].sha256
    return files_revision((file.name, file.sha256) for file in files)


def _root(source: ModelSource) -> str:
    return ModelLayout(source.revision).root
