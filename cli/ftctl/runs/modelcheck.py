"""Looks at a base model's files before a run is made of them; a stage would fail much later."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from ftctl.errors import ConfigError

_GGUF_MAGIC = b"GGUF"
# https://huggingface.co/docs/safetensors: 8 bytes of header length, the header, the tensors.
_LENGTH_BYTES = 8
_HEADER_LIMIT_BYTES = 100_000_000
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
_DAMAGED = "Copy or download the model again; this file is cut or damaged."


def check_folder(folder: Path) -> None:
    """
    Refuse a folder whose files cannot be a model, without loading it.

    Raises:
        ConfigError: config.json is no model's, no tokenizer is there, or weights are cut.
    """
    _check_config(folder / "config.json")
    if not any(next(folder.glob(pattern), None) for pattern in _TOKENIZER_FILES):
        raise ConfigError(
            "the folder holds no tokenizer: no tokenizer.json, vocab.* or *.model",
            where=str(folder),
            hint="Copy the tokenizer's files there, next to the weights.",
        )
    for path in sorted(folder.glob("*.safetensors")):
        _check_safetensors(path)


def check_gguf(path: Path) -> None:
    """Refuse a file that does not begin as GGUF. Raises ConfigError."""
    with path.open("rb") as file:
        start = file.read(len(_GGUF_MAGIC))
    if start != _GGUF_MAGIC:
        raise ConfigError(
            f"is no GGUF file: it begins with {start!r}, not {_GGUF_MAGIC!r}"
            if start
            else "is no GGUF file: it is empty",
            where=str(path),
            hint=_DAMAGED,
        )


def _check_config(path: Path) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigError(f"is no JSON: {error}", where=str(path), hint=_DAMAGED) from error
    if not isinstance(config, dict) or not config.get("model_type"):
        raise ConfigError(
            "names no model_type, so it describes no model",
            where=str(path),
            hint="Use the config.json that belongs to these weights.",
        )


def _check_safetensors(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = struct.unpack("<Q", start)[0] if len(start) == _LENGTH_BYTES else 0
        if not 0 < length <= min(_HEADER_LIMIT_BYTES, size - _LENGTH_BYTES):
            raise ConfigError(
                f"is no safetensors file, or cut within its header ({size:,} bytes)",
                where=str(path),
                hint=_DAMAGED,
            )
        header = file.read(length)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
        wanted = _LENGTH_BYTES + length + max(ends, default=0)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise ConfigError(
            "its safetensors header cannot be read", where=str(path), hint=_DAMAGED
        ) from error
    if size != wanted:
        raise ConfigError(
            f"has {size:,} bytes, and its header describes {wanted:,}",
            where=str(path),
            hint=_DAMAGED,
        )
