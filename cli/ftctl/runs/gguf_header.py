"""A GGUF file's sizes, read from its header alone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from ftctl.errors import ConfigError

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_MAGIC = b"GGUF"
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_TOKENS = "tokenizer.ggml.tokens"
# A length beyond this is damage: a key or a name, in bytes.
_LONGEST = 2**24
# Names that config.json has for the same; the prefix is the architecture's.
_NAMES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "vocab_size": "vocab_size",
}


def read_gguf_config(path: Path) -> dict[str, Any]:
    """
    What config.json would say of the model's shape.

    Raises:
        ConfigError: the header is cut or damaged.
    """
    try:
        with path.open("rb") as file:
            fields, tensors = _header(file)
    except (struct.error, KeyError, ValueError, MemoryError) as error:
        raise ConfigError(
            "its GGUF header cannot be read",
            where=str(path),
            hint="Copy or download the model again; this file is cut or damaged.",
        ) from error
    family = str(fields.get("general.architecture", ""))
    config = {
        name: fields[f"{family}.{key}"]
        for key, name in _NAMES.items()
        if f"{family}.{key}" in fields
    }
    config.setdefault("vocab_size", fields.get(_TOKENS))
    return {
        **config,
        "model_type": family,
        "tie_word_embeddings": "output.weight" not in tensors,
    }


def _header(file: BinaryIO) -> tuple[dict[str, Any], set[str]]:
    if file.read(4) != _MAGIC:
        raise ValueError("no GGUF")
    _, tensor_count, field_count = _unpack(file, "IQQ")
    fields = {}
    for _ in range(field_count):
        key = _string(file)
        fields[key] = _value(file, _unpack(file, "I")[0])
    names = set()
    for _ in range(tensor_count):
        names.add(_string(file))
        dimensions = _unpack(file, "I")[0]
        _unpack(file, f"{dimensions}QIQ")
    return fields, names


def _value(file: BinaryIO, kind: int) -> Any:
    """A scalar or a text; of a list of texts its length, of other lists nothing."""
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, count = _unpack(file, "IQ")
        if item == _STRING:
            for _ in range(count):
                file.seek(_unpack(file, "Q")[0], 1)
            return count
        file.seek(count * struct.calcsize(_SCALARS[item]), 1)
        return None
    return _unpack(file, _SCALARS[kind])[0]


def _string(file: BinaryIO) -> str:
    length = _unpack(file, "Q")[0]
    if length > _LONGEST:
        raise ValueError(f"a text of {length} bytes")
    return file.read(length).decode(errors="replace")


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))
