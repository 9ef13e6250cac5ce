"""Brings a base model onto this machine, as a folder that transformers loads."""

from __future__ import annotations

from pathlib import Path

from ftctl.contract.checksum import file_sha256
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError
from ftctl.storage.hub import hub_snapshot
from ftctl_trainer.model.gguf_cache import unpacked_gguf


def model_folder(source: ModelSource) -> Path:
    """
    Return a folder with config, safetensors and tokenizer of the base model.

    A GGUF file is unpacked once into the cache; a hub model is downloaded at its commit.

    Raises:
        ConfigError: the model is not there, is closed to us, or is not the one of the run.
        StorageError: the hub does not answer.
    """
    if source.kind == "hub":
        return hub_snapshot(source.name, source.revision)
    path = Path(source.path or "")
    if not source.path or not path.exists():
        raise ConfigError(
            f"there is no model at {source.path!r}",
            where="model.model_name",
            hint="Mount or copy it there, or name a model of the hub.",
        )
    found = file_sha256(path) if source.kind == "gguf" else folder_revision(path)
    if found != source.revision:
        raise ConfigError(
            f"the model changed: its sha256 is {found}, the run was made for {source.revision}",
            where=str(path),
            hint="Submit the run again: another model makes another run.",
        )
    return unpacked_gguf(path, found) if source.kind == "gguf" else path
