"""Gathers what an estimate needs to know: the base model's shape and the rows' lengths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftctl.data.example import Example
from ftctl.data.parts import answer_text, prompt_text
from ftctl.errors import ConfigError, StorageError
from ftctl.estimate.architecture import Architecture, from_config
from ftctl.estimate.facts import Rows
from ftctl.estimate.lengths import TURN_TOKENS, estimated_tokens
from ftctl.runs.gguf_config import read_gguf_config
from ftctl.runs.model import locate_model
from ftctl.runs.stored import is_content, stored_config
from ftctl.storage.base import Readable
from ftctl.storage.hub import cached_hub_file, hub_file

if TYPE_CHECKING:
    from ftctl.data.dataset import Dataset

_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
# What a layout adds to a row is its text outside of tags.
_TAGS = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)
Count = Callable[[str], int]


@dataclass(frozen=True)
class BaseFacts:
    """
    What is known of a base model without its weights.

    Attributes:
        shape: None where `unknown` says why.
        gguf_bytes: size of a base that is a GGUF file.
        tokenizer: its tokenizer.json, where that is on this machine.
    """

    shape: Architecture | None
    gguf_bytes: int | None = None
    tokenizer: Path | None = None
    unknown: str | None = None


def base_facts(name: str, revision: str | None, store: Readable) -> BaseFacts:
    """
    Read a base model's shape: from its folder, its GGUF header, the store, or the hub.

    Raises:
        ConfigError: there is no such model, or its files are damaged.
    """
    path = locate_model(name, revision)
    if path is None and revision and is_content(revision):
        config, size = stored_config(name, revision, store)
        return _facts(config, name, gguf_bytes=size)
    if path is None:
        return _at_hub(name, revision)
    if path.is_file():
        return _facts(read_gguf_config(path), name, gguf_bytes=path.stat().st_size)
    tokenizer = path / _TOKENIZER
    return _facts(
        _read_config(path / _CONFIG), name, tokenizer=tokenizer if tokenizer.is_file() else None
    )


def row_facts(dataset: Dataset, template: str, tokenizer: Path | None) -> Rows:
    """Lengths of a data set's rows in tokens, counted where a tokenizer can be used."""
    count = _counter(tokenizer)
    constant = _TAGS.sub("", template)
    lengths = [_length(row, constant, count or estimated_tokens) for row in dataset.train]
    answers = (_answer(row, count or estimated_tokens) for row in dataset.train)
    return Rows(
        train=lengths,
        answers=max(answers, default=0),
        held_out=len(dataset.eval),
        exact=count is not None,
    )


def _at_hub(name: str, revision: str | None) -> BaseFacts:
    try:
        config = _read_config(hub_file(name, revision, _CONFIG))
    except StorageError as error:
        unknown = f"memory is not known: {error.what}, and {_CONFIG} of {name} is not cached"
        return BaseFacts(None, unknown=unknown)
    return _facts(config, name, tokenizer=cached_hub_file(name, revision, _TOKENIZER))


def _facts(
    config: dict[str, Any],
    name: str,
    *,
    gguf_bytes: int | None = None,
    tokenizer: Path | None = None,
) -> BaseFacts:
    shape = from_config(config)
    kind = config.get("model_type", "nothing")
    unknown = (
        None
        if shape
        else f"memory is not known: {name} describes itself as {kind!r} without the usual sizes"
    )
    return BaseFacts(shape, gguf_bytes, tokenizer, unknown)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            where="model.model_name",
            hint="A model's folder holds config.json beside its weights.",
        ) from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigError(f"is no JSON: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise ConfigError("describes no model", where=str(path))
    return config


def _counter(tokenizer: Path | None) -> Count | None:
    """Counts tokens with a tokenizer.json; None without one, or without its library."""
    if tokenizer is None:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    loaded = Tokenizer.from_file(str(tokenizer))
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def _length(row: Example, constant: str, count: Count) -> int:
    parts = [row.system or "", prompt_text(row), answer_text(row)]
    parts += [turn.content for turn in row.messages if turn.role == "system"]
    if row.prompt is not None:
        parts.append(constant)
    turns = max(len(row.messages), 1) + 2
    return sum(map(count, parts)) + turns * TURN_TOKENS


def _answer(row: Example, count: Count) -> int:
    """Tokens that carry a loss: all turns of the assistant."""
    said = [turn.content for turn in row.messages if turn.role == "assistant"]
    return sum(map(count, said or [answer_text(row)])) + TURN_TOKENS
