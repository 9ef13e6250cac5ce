"""Base models that are in the store by their content, for machines that do not have them."""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

from ftctl.contract.layout import ModelLayout
from ftctl.contract.lineage import FileRecord
from ftctl.contract.runfile import ModelSource
from ftctl.data.objects import ObjectStore
from ftctl.errors import ConfigError, StorageError
from ftctl.runs.gguf_config import parse_gguf_config
from ftctl.storage.base import Readable
from ftctl.storage.markers import read_marker

_CONFIG = "config.json"
_CONTENT = re.compile(r"[0-9a-f]{64}")
# A GGUF's header is its vocabulary, of some MB; where this is too little, twice as much is read.
_HEADER_BYTES = 2**24


class InputStore(ObjectStore, Readable, Protocol):
    """The store as it is needed to describe a run: data sets and base models are read from it."""


def is_content(revision: str | None) -> bool:
    """Whether a revision is a sha256, as models have that are on no hub; a hub's has 40 digits."""
    return revision is not None and _CONTENT.fullmatch(revision) is not None


def stored_model(name: str, revision: str, store: Readable) -> ModelSource:
    """
    A model that is not on this machine, by its content.

    Raises:
        ConfigError: the store does not have it either.
    """
    files = _files(name, revision, store)
    kind = "gguf" if len(files) == 1 and files[0].name.endswith(".gguf") else "folder"
    return ModelSource.model_validate({"name": name, "kind": kind, "revision": revision})


def stored_config(name: str, revision: str, store: Readable) -> tuple[dict[str, Any], int | None]:
    """
    What config.json says of such a model, and the size of one that is a GGUF file, in bytes.

    Raises:
        ConfigError: the store does not have the model.
        StorageError: its copy is damaged.
    """
    files, root = _files(name, revision, store), ModelLayout(revision).root
    gguf = next((file for file in files if file.name.endswith(".gguf")), None)
    try:
        if gguf is not None:
            return _gguf_config(store, root + gguf.name, gguf.size), gguf.size
        config = json.loads(store.read(root + _CONFIG))
    except (ConfigError, ValueError) as error:
        raise StorageError(
            f"the store's copy of {name} is damaged",
            where=f"{store.url}/{root}",
            hint="Delete it there, and push it again from where the model is.",
        ) from error
    return dict(config), None


def _files(name: str, revision: str, store: Readable) -> list[FileRecord]:
    root = ModelLayout(revision).root
    marker = read_marker(store, root)
    if marker is None:
        raise ConfigError(
            f"{name} is not on this machine, and {store.url}/{root} is not complete",
            where="model.revision",
            hint="`ftctl render --push`, where the model is, uploads it.",
        )
    return marker.files


def _gguf_config(store: Readable, key: str, size: int) -> dict[str, Any]:
    """Raises ConfigError where even the whole file has no header."""
    length = _HEADER_BYTES
    while True:
        try:
            return parse_gguf_config(store.read_range(key, 0, min(length, size)), where=key)
        except ConfigError:
            if length >= size:
                raise
            length *= 2
