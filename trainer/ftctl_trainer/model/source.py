"""Brings a base model onto this machine, as a folder that transformers loads."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError
from ftctl.storage.base import Store
from ftctl.storage.hub import hub_snapshot
from ftctl.storage.models import has_model, pull_model
from ftctl_trainer.model.cache import cache_errors, models_dir, sole_user
from ftctl_trainer.model.gguf_cache import unpacked_gguf

_log = logging.getLogger(__name__)


def model_folder(source: ModelSource, store: Store) -> Path:
    """
    Return a folder with config, safetensors and tokenizer of the base model.

    A hub's model is downloaded at its commit. Another is taken from its path; where that is not
    on this machine, or has another model, from the cache, else from the store, into the cache.
    A GGUF file is unpacked once into the cache.

    Raises:
        ConfigError: the model is not there, is closed to us, or is not the one of the run.
        StorageError: the hub or the store does not answer, or the cache cannot be written.
    """
    if source.kind == "hub":
        return hub_snapshot(source.name, source.revision)
    path = Path(source.path or "")
    found = _revision(source, path)
    if found == source.revision:
        return unpacked_gguf(path, found) if source.kind == "gguf" else path
    folder = models_dir() / source.revision
    if folder.is_dir():
        return folder
    if not has_model(store, source):
        raise _not_here(source, found, store)
    return _fetched(source, store, folder)


def _revision(source: ModelSource, path: Path) -> str | None:
    """What is at the path here, if anything. os.path takes what may not be looked at for absent."""
    if source.kind == "gguf":
        return file_sha256(path) if os.path.isfile(path) else None
    return folder_revision(path) if os.path.isdir(path) else None


def _not_here(source: ModelSource, found: str | None, store: Store) -> ConfigError:
    if found is not None:
        return ConfigError(
            f"the model changed: its sha256 is {found}, the run was made for {source.revision}",
            where=source.path,
            hint="Submit the run again: another model makes another run.",
        )
    return ConfigError(
        f"there is no model at {source.path!r}, and none of its sha256 in {store.url}",
        where="model.model_name",
        hint="Mount or copy it there, or name a model of the hub.",
    )


def _fetched(source: ModelSource, store: Store, folder: Path) -> Path:
    """
    Copy the model from the store to `folder`, which appears whole or not at all.

    What a killed process leaves is hidden, and the next one goes on with it; one works at a time.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    with sole_user(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return folder
        _log.info("fetching %s from %s, once", source.name, store.url)
        pull_model(store, source, partial)
        if source.kind == "gguf":
            [file] = (path for path in partial.iterdir() if path.suffix == ".gguf")
            unpacked_gguf(file, source.revision)
            shutil.rmtree(partial)
        else:
            with cache_errors():
                for left in partial.glob(".*"):  # parts of an object that was replaced meanwhile
                    left.unlink()
                partial.rename(folder)
    return folder
