"""Brings a base model onto this machine, as a folder that transformers loads."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError
from ftctl.storage.base import Store
from ftctl.storage.hub import cached_hub_snapshot, hub_snapshot
from ftctl.storage.hub_files import pull_hub_companions, readable_shards
from ftctl.storage.models import has_model, pull_companions, pull_model
from ftctl_trainer.export.base import Description, HubWeights, StoredWeights, describe
from ftctl_trainer.export.tensors import has_shards
from ftctl_trainer.model.cache import cache_errors, models_dir, sole_user
from ftctl_trainer.model.gguf_cache import unpacked_folder, unpacked_gguf

_log = logging.getLogger(__name__)

# The section `storage`, and the store where its URL is null.
Storage = tuple[StorageConfig, str | None]


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
    found = _at_hand(source)
    if found is not None:
        return found
    _need_stored(source, store)
    return _fetched(source, store)


def streamed_model(source: ModelSource, store: Store, storage: Storage, folder: Path) -> Path:
    """
    Return a base as `model_folder` does, but leave the shards of the store or the hub there.

    Args:
        storage: how the processes of the export open `store`.
        folder: is made for the small files, and a description of where the shards are.
    Raises: as `model_folder`.
    """
    if source.kind == "hub":
        return _streamed_from_hub(source, folder)
    found = _at_hand(source)
    if found is not None:
        return found
    _need_stored(source, store)
    if source.kind == "gguf":  # unpacked by transformers, whole
        return _fetched(source, store)
    prefix, shards = pull_companions(store, source, folder)
    _log.info("reading %s from %s by range", source.name, store.url)
    config, default = storage
    stored = StoredWeights(storage=config, default=default, prefix=prefix, files=shards)
    describe(folder, Description(stored=stored))
    return folder


def _streamed_from_hub(source: ModelSource, folder: Path) -> Path:
    """The hub's own cache where it has the whole model; else its small files, and a description."""
    cached = cached_hub_snapshot(source.name, source.revision)
    if cached is not None and (cached / "config.json").exists() and has_shards(cached):
        return cached
    shards = readable_shards(source.name, source.revision)
    if shards is None:
        _log.info("downloading %s: its weights cannot be read by range", source.name)
        return hub_snapshot(source.name, source.revision)
    _log.info("reading %s from the model hub by range", source.name)
    pull_hub_companions(source.name, source.revision, folder)
    weights = HubWeights(name=source.name, commit=source.revision, files=shards)
    describe(folder, Description(hub=weights))
    return folder


def _at_hand(source: ModelSource) -> Path | None:
    """The model's folder on this machine, from the hub where it is the hub's; else None."""
    if source.kind == "hub":
        return hub_snapshot(source.name, source.revision)
    path = Path(source.path or "")
    if _revision(source, path) == source.revision:
        return unpacked_gguf(path, source.revision) if source.kind == "gguf" else path
    folder = _cached(source)
    return folder if folder.is_dir() else None


def _cached(source: ModelSource) -> Path:
    """Where the cache has a model that came from the store."""
    if source.kind == "gguf":
        return unpacked_folder(source.revision)
    return models_dir() / source.revision


def _need_stored(source: ModelSource, store: Store) -> None:
    if not has_model(store, source):
        raise _not_here(source, _revision(source, Path(source.path or "")), store)


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


def _fetched(source: ModelSource, store: Store) -> Path:
    """
    Copy the model from the store into the cache, where it appears whole or not at all.

    What a killed process leaves is hidden, and the next one goes on with it; one works at a time.
    """
    folder = _cached(source)
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
