"""
The base model that an export begins with: its tensors, wherever its shards are.

A base is a folder. It holds the shards, or `_base.json`, which says where they are (in another
folder, or in a store or at a hub, to be read by range) and whether they are rounded as in training.
The processes of an export all open it by its path.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from ftctl.contract.lineage import FileRecord
from ftctl.contract.modelfiles import WEIGHTS_SUFFIX, model_files
from ftctl.contract.operational import StorageConfig
from ftctl.contract.status import Stored
from ftctl.storage.base import Ranged
from ftctl.storage.files import os_errors
from ftctl.storage.hub_files import HubFiles
from ftctl.storage.open import open_store
from ftctl_trainer.export.checksums import Checksums
from ftctl_trainer.export.nf4 import Nf4, rounded
from ftctl_trainer.export.readahead import RemoteShards, check_rest
from ftctl_trainer.export.tensors import Tensor, read_folder, read_shards, shard_names

DESCRIPTION = "_base.json"
_CHECKED = "_checked"


class StoredWeights(Stored):
    """Shards below a prefix of a store; `default` names the store where `storage.url` is null."""

    storage: StorageConfig
    default: str | None = None
    prefix: str
    files: list[FileRecord]

    def place(self) -> Ranged:
        """Where they are read from."""
        return open_store(self.storage, default=self.default)


class HubWeights(Stored):
    """Shards of a hub's model at a commit."""

    name: str
    commit: str
    files: list[FileRecord]
    prefix: ClassVar[str] = ""

    def place(self) -> Ranged:
        """Where they are read from."""
        return HubFiles(self.name, self.commit)


class Description(Stored):
    """`_base.json`: a folder, or one of the places that are read by range."""

    folder: str | None = None
    stored: StoredWeights | None = None
    hub: HubWeights | None = None
    nf4: Nf4 | None = None

    @property
    def remote(self) -> StoredWeights | HubWeights | None:
        """Shards that are not on this machine."""
        return self.stored or self.hub


def describe(folder: Path, description: Description) -> None:
    """Make a folder, which has the small files of a model, a base."""
    with os_errors(str(folder)):
        (folder / DESCRIPTION).write_text(description.model_dump_json(), encoding="utf-8")


def rounded_base(base: Path, nf4: Nf4, folder: Path) -> Path:
    """Describe, in a new folder, a base whose linear layers are as an NF4 model has them."""
    found = _description(base)
    with os_errors(str(folder)):
        folder.mkdir()
        for file in model_files(base):
            if file.suffix != WEIGHTS_SUFFIX:
                shutil.copyfile(file, folder / file.name)
    describe(folder, found.model_copy(update={"nf4": nf4, "folder": found.folder or str(base)}))
    return folder


def base_tensors(folder: Path) -> dict[str, Tensor]:
    """
    Find the tensors of a base by name; none is read yet.

    Raises:
        RunFailedError: a shard is missing, or a header is unreadable.
        StorageError: the store or the hub does not answer.
    """
    found = _description(folder)
    if found.remote:
        tensors = read_shards(_shards(folder, found.remote).shards())
    else:
        tensors = read_folder(Path(found.folder or folder))
    return rounded(tensors, found.nf4) if found.nf4 else tensors


def check_base(folder: Path) -> None:
    """
    Hold shards that were read by range to their sha256, those that no pass read to their end.

    Raises:
        DamagedError: a shard is not what the model's marker, or the hub, says.
    """
    if remote := _description(folder).remote:
        files = _files(folder, remote)
        check_rest(remote.place(), remote.prefix, files, Checksums(folder / _CHECKED))


def _shards(folder: Path, remote: StoredWeights | HubWeights) -> RemoteShards:
    files = _files(folder, remote)
    return RemoteShards(remote.place(), remote.prefix, files, Checksums(folder / _CHECKED))


def _files(folder: Path, remote: StoredWeights | HubWeights) -> list[FileRecord]:
    """The shards of the model: beside them may be its weights in another format."""
    by_name = {file.name: file for file in remote.files}
    return [by_name[name] for name in shard_names(folder, sorted(by_name))]


def _description(folder: Path) -> Description:
    file = folder / DESCRIPTION
    if not file.exists():
        return Description()
    return Description.model_validate_json(file.read_text(encoding="utf-8"))
