"""Looks at a base model's files before a run is made of them; a stage would fail much later."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from ftctl.contract.exportable import (
    BUILT_IN_ARCHITECTURES,
    BUILT_IN_GGUF_ARCHITECTURES,
    BUILT_IN_TYPES,
    WITH_IMATRIX,
    WITH_LLAMA_CPP,
    WITH_LORA,
    imatrix_tool,
    llama_cpp_tools,
    lora_tool,
)
from ftctl.contract.runfile import ModelSource
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.runs.gguf_header import read_header

# https://huggingface.co/docs/safetensors: 8 bytes of header length, the header, the tensors.
_LENGTH_BYTES = 8
_HEADER_LIMIT_BYTES = 100_000_000
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
_NO_TEMPLATE = (
    "Use the instruct variant of the model, or put the template into chat_template.jinja "
    "in its folder."
)
_DAMAGED = "Copy or download the model again; this file is cut or damaged."


def check_folder(folder: Path) -> None:
    """
    Refuse a folder whose files cannot be a model, without loading it.

    Raises:
        ConfigError: config.json is no model's, no tokenizer or chat template is there, or weights
            are cut.
    """
    _check_config(folder / "config.json")
    if not any(next(folder.glob(pattern), None) for pattern in _TOKENIZER_FILES):
        raise ConfigError(
            "the folder holds no tokenizer: no tokenizer.json, vocab.* or *.model",
            where=str(folder),
            hint="Copy the tokenizer's files there, next to the weights.",
        )
    if not _has_chat_template(folder):
        raise ConfigError(
            "the model's tokenizer has no chat template", where=str(folder), hint=_NO_TEMPLATE
        )
    for path in sorted(folder.glob("*.safetensors")):
        _check_safetensors(path)


def check_gguf(path: Path) -> None:
    """Refuse a file that is no GGUF, or one without a chat template. Raises ConfigError."""
    if not read_header(path).values.get("tokenizer.chat_template"):
        raise ConfigError(
            "the GGUF file has no chat template (tokenizer.chat_template)",
            where=str(path),
            hint="Use the instruct variant of the model.",
        )


def check_export(config: Config, model: ModelSource) -> None:
    """
    Refuse what could be trained and then not be exported on this machine.

    A model of the hub is not looked into: its files are not here yet.

    Raises:
        ConfigError: an architecture or a quantization type that needs llama.cpp's own tools, where
            they are not.
    """
    tools = llama_cpp_tools(config.paths)
    if config.quantize.imatrix and (tools is None or not imatrix_tool(tools[1]).is_file()):
        raise ConfigError(
            "an importance matrix needs llama.cpp's own llama-imatrix, which is not there",
            where="quantize.imatrix",
            hint=WITH_IMATRIX,
        )
    if config.quantize.adapter_gguf and (tools is None or not lora_tool(tools[0]).is_file()):
        raise ConfigError(
            "a GGUF of the adapter needs llama.cpp's own convert_lora_to_gguf.py, which is not "
            "there",
            where="quantize.adapter_gguf",
            hint=WITH_LORA,
        )
    if tools is not None:
        return
    for qtype in config.model.qtypes:
        if qtype not in BUILT_IN_TYPES:
            raise ConfigError(
                f"quantization type {qtype} needs llama.cpp's own quantizer, which is not there",
                where="model.qtype",
                hint=f"Built in: {', '.join(sorted(BUILT_IN_TYPES))}. {WITH_LLAMA_CPP}",
            )
    name = _architecture(model)
    if name is not None and name not in BUILT_IN_ARCHITECTURES | BUILT_IN_GGUF_ARCHITECTURES:
        raise ConfigError(
            f"{name} cannot be exported without llama.cpp's own converter, which is not there",
            where="model.model_name",
            hint=f"Built in: the llama family. {WITH_LLAMA_CPP}",
        )


def _architecture(model: ModelSource) -> str | None:
    if model.path is None:
        return None
    path = Path(model.path)
    if model.kind == "gguf":
        return str(
            read_header(path).values.get("general.architecture", "a GGUF without architecture")
        )
    names = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures")
    return str(names[0]) if names else "a model without an architecture"


def _has_chat_template(folder: Path) -> bool:
    """Whether transformers will find one: in a file of its own or in the tokenizer's settings."""
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    if any(folder.glob("additional_chat_templates/*.jinja")):
        return True
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    # Code that comes with the tokenizer may bring one along.
    return bool(settings.get("chat_template") or settings.get("auto_map"))


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
