"""A GGUF model's shape, in the names of config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftctl.runs.gguf_header import GgufHeader, parse_header, read_header

_TOKENS = "tokenizer.ggml.tokens"
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
    """What config.json would say of the model's shape. Raises ConfigError for a damaged file."""
    return _config(read_header(path))


def parse_gguf_config(start: bytes, *, where: str) -> dict[str, Any]:
    """The same of a file's first bytes. Raises ConfigError: its header is cut, or is none."""
    return _config(parse_header(start, where=where))


def _config(header: GgufHeader) -> dict[str, Any]:
    family = str(header.values.get("general.architecture", ""))
    config: dict[str, Any] = {
        name: header.values[f"{family}.{key}"]
        for key, name in _NAMES.items()
        if f"{family}.{key}" in header.values
    }
    config.setdefault("vocab_size", header.lists.get(_TOKENS))
    return {
        **config,
        "model_type": family,
        "tie_word_embeddings": "output.weight" not in header.tensors,
    }
