"""Adapters that runs go on from, in the store by their content."""

from __future__ import annotations

from pathlib import Path

from ftctl.contract.lineage import FileRecord
from ftctl.contract.modelfiles import files_revision
from ftctl.contract.runfile import AdapterSource
from ftctl.errors import ConfigError, StorageError
from ftctl.storage.base import Store
from ftctl.storage.markers import download_folder, read_marker, write_marker

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ADAPTER_FILES = (SETTINGS, WEIGHTS)
# As a base model, such an adapter is no run's: two writers write the same bytes.
_NO_FENCE = 0


def push_adapter(store: Store, source: AdapterSource | None) -> None:
    """
    Put an adapter of this machine into the store, unless it is there; another run's is there.

    Raises:
        ConfigError: the files are no longer those that `source` was made from.
    """
    if source is None or source.path is None or read_marker(store, source.prefix) is not None:
        return
    files = []
    for name in ADAPTER_FILES:
        path = Path(source.path) / name
        digest = store.upload(path, source.prefix + name)
        files.append(FileRecord(name=name, size=path.stat().st_size, sha256=digest))
    if files_revision((file.name, file.sha256) for file in files) != source.revision:
        raise ConfigError(
            "the adapter changed since the run was made",
            where=source.path,
            hint="Submit the run again when nothing writes there.",
        )
    write_marker(store, source.prefix, files, _NO_FENCE)


def pull_adapter(store: Store, source: AdapterSource, folder: Path) -> None:
    """
    Copy an adapter into a folder.

    Raises:
        StorageError: the store does not have it, or has another one there.
    """
    marker = download_folder(store, source.prefix, folder)
    files = [(file.name, file.sha256) for file in marker.files if file.name in ADAPTER_FILES]
    if files_revision(files) != source.revision:
        raise StorageError(
            f"this is another adapter than the one of {source.name} that the run was made for",
            where=f"{store.url}/{source.prefix}",
            hint="Submit the run again: another adapter makes another run.",
        )
