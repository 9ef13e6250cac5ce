"""
A llama model's GGUF names, layout and metadata, for where llama.cpp's converter is not at hand.

Follows llama.cpp's conversion/llama.py and what its src/models/llama.cpp reads. Names come from
the package gguf, which llama.cpp publishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from ftctl.contract.exportable import BUILT_IN_ARCHITECTURES
from ftctl_trainer.export.tensors import Array, Tensor
from ftctl_trainer.export.unsupported import needs_llama_cpp


@dataclass(frozen=True)
class Hyperparameters:
    """What a llama's config.json says, whichever version of transformers wrote it."""

    blocks: int
    hidden: int
    feed_forward: int
    context: int
    heads: int
    kv_heads: int
    head_size: int
    norm_epsilon: float
    rope: dict[str, Any]

    @classmethod
    def read(cls, config: dict[str, Any]) -> Hyperparameters:
        """
        Take what the metadata needs.

        Raises:
            RunFailedError: a kind of attention or position scaling not handled here.
        """
        heads = config["num_attention_heads"]
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        rope = {"rope_theta": config.get("rope_theta", 10000.0), **scaling}
        rope["kind"] = rope.get("rope_type", rope.get("type", "default"))
        if rope["kind"] not in ("default", "linear", "llama3"):
            raise needs_llama_cpp(f"position scaling {rope['kind']!r}")
        if config.get("sliding_window"):
            raise needs_llama_cpp("sliding-window attention")
        return cls(
            blocks=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            feed_forward=config["intermediate_size"],
            context=config["max_position_embeddings"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            norm_epsilon=config["rms_norm_eps"],
            rope=rope,
        )


def check_supported(config: dict[str, Any], where: Path) -> None:
    """Raise RunFailedError for an architecture that is not of the llama family."""
    names = config.get("architectures") or ["a model without an architecture"]
    if names[0] not in BUILT_IN_ARCHITECTURES:
        raise needs_llama_cpp(names[0], where=str(where))


def gguf_tensors(tensors: list[Tensor], hyper: Hyperparameters) -> list[Tensor]:
    """
    Rename tensors, and put the rows of q and k in the order that llama.cpp's rope wants.

    Raises:
        RunFailedError: a tensor that a llama does not have.
    """
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, hyper.blocks)
    found = []
    for tensor in tensors:
        if tensor.name.endswith(".rotary_emb.inv_freq"):
            continue  # computed by llama.cpp
        name = names.get_name(tensor.name, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise needs_llama_cpp(f"tensor {tensor.name}")
        part = tensor.name.split(".")[-2]
        heads = {"q_proj": hyper.heads, "k_proj": hyper.kv_heads}.get(part)
        found.append(replace(_interleaved(tensor, heads) if heads else tensor, name=name))
    if hyper.rope["kind"] == "llama3":
        found.append(_rope_frequencies(hyper))
    return found


def add_hyperparameters(writer: gguf.GGUFWriter, hyper: Hyperparameters, vocabulary: int) -> None:
    """Write the llama.* keys; `vocabulary` is the number of rows of the embedding."""
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(hyper.context)
    writer.add_embedding_length(hyper.hidden)
    writer.add_block_count(hyper.blocks)
    writer.add_feed_forward_length(hyper.feed_forward)
    writer.add_head_count(hyper.heads)
    writer.add_head_count_kv(hyper.kv_heads)
    writer.add_key_length(hyper.head_size)
    writer.add_value_length(hyper.head_size)
    writer.add_rope_dimension_count(hyper.head_size)
    writer.add_layer_norm_rms_eps(hyper.norm_epsilon)
    writer.add_rope_freq_base(hyper.rope["rope_theta"])
    if hyper.rope["kind"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(hyper.rope["factor"])


def _interleaved(tensor: Tensor, heads: int) -> Tensor:
    # transformers rotates the two halves of a head, llama.cpp's llama neighbouring pairs.
    def rows_of(load: Callable[[], Array]) -> Callable[[], Array]:
        def interleaved() -> Array:
            values = load()
            halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            return halves.swapaxes(1, 2).reshape(values.shape)

        return interleaved

    base = tensor.base and rows_of(tensor.base)
    return replace(tensor, load=rows_of(tensor.load), base=base, rows=None, base_rows=None)


def _rope_frequencies(hyper: Hyperparameters) -> Tensor:
    """Llama 3.1's frequency factors, [head_size / 2]: transformers' modeling_rope_utils.py."""
    rope, pairs = hyper.rope, hyper.head_size // 2

    def load() -> Array:
        exponents = np.arange(0, hyper.head_size, 2, dtype=np.float32) / hyper.head_size
        wavelength = 2 * math.pi * np.float32(rope["rope_theta"]) ** exponents
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        trained = rope["original_max_position_embeddings"] / wavelength
        smooth = np.clip((trained - low) / (high - low), 0, 1)
        return np.asarray(1 / ((1 - smooth) / rope["factor"] + smooth), np.float32)

    return Tensor("rope_freqs.weight", (pairs,), load)
