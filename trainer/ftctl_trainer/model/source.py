"""Brings a base model onto this machine, as a folder that transformers loads."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError
from ftctl_trainer.model.gguf_cache import unpacked_gguf
from ftctl_trainer.model.hub import download_model

_log = logging.getLogger(__name__)

# What decides how a model of a folder behaves; other files (README, .bin twins) do not count.
MODEL_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
_BLOCK_BYTES = 1 << 20


def model_folder(source: ModelSource) -> Path:
    """
    Return a folder with config, safetensors and tokenizer of the base model.

    A GGUF file is unpacked once into the cache; a hub model is downloaded at its commit.

    Raises:
        ConfigError: the model is not there, is closed to us, or is not the one of the run.
        StorageError: the hub does not answer.
    """
    if source.kind == "hub":
        return download_model(source.name, source.revision)
    path = Path(source.path or "")
    if not source.path or not path.exists():
        raise ConfigError(
            f"there is no model at {source.path!r}",
            where="model.model_name",
            hint="Mount or copy it there, or name a model of the hub.",
        )
    found = file_sha256(path) if source.kind == "gguf" else folder_sha256(path)
    if found != source.revision:
        raise ConfigError(
            f"the model changed: its sha256 is {found}, the run was made for {source.revision}",
            where=str(path),
            hint="Submit the run again: another model makes another run.",
        )
    return unpacked_gguf(path, found) if source.kind == "gguf" else path


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def folder_sha256(folder: Path) -> str:
    """sha256 over the sorted lines `name sha256` of the model's files."""
    files = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    lines = sorted(f"{path.name} {file_sha256(path)}\n" for path in files if path.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
