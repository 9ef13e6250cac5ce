"""A decoder's shape, from its config.json: enough to count weights, activations and work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Families whose config.json leaves tie_word_embeddings out and whose classes tie by default.
_TIED = ("cohere", "cohere2", "gemma", "gemma2", "gemma3", "gemma3_text", "gpt2")
# Families whose feed-forward part has two matrices and no gate.
_UNGATED = ("bloom", "falcon", "gpt2", "gpt_neox", "opt", "phi", "starcoder2")


@dataclass(frozen=True)
class Linear:
    """A weight matrix of one layer; `copies` is the number of experts that have one."""

    name: str
    inputs: int
    outputs: int
    copies: int = 1

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.copies


@dataclass(frozen=True)
class Architecture:
    """The shape of a decoder-only language model."""

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool = False
    gated: bool = True
    experts: int = 1
    active_experts: int = 1

    @property
    def query_size(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_size

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The matrices of one layer, by transformers' names; these are what is quantized."""
        hidden, wide = self.hidden, self.intermediate
        gate = [Linear("gate_proj", hidden, wide, self.experts)] if self.gated else []
        return (
            Linear("q_proj", hidden, self.query_size),
            Linear("k_proj", hidden, self.kv_size),
            Linear("v_proj", hidden, self.kv_size),
            Linear("o_proj", self.query_size, hidden),
            *gate,
            Linear("up_proj", hidden, wide, self.experts),
            Linear("down_proj", wide, hidden, self.experts),
        )

    @property
    def linear_weights(self) -> int:
        """Weights in the matrices of all layers."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def active_weights(self) -> int:
        """The same, of those that one token passes through."""
        used = (
            linear.weights // linear.copies * min(linear.copies, self.active_experts)
            for linear in self.linears
        )
        return self.layers * sum(used)

    @property
    def embedding_weights(self) -> int:
        """Weights of the embedding, and of lm_head, which has as many."""
        return self.vocabulary * self.hidden

    @property
    def other_weights(self) -> int:
        """What is never quantized: embedding, lm_head unless it is tied, norms."""
        norms = (2 * self.layers + 1) * self.hidden
        return self.embedding_weights * (1 if self.tied else 2) + norms

    @property
    def parameters(self) -> int:
        return self.linear_weights + self.other_weights


def from_config(config: Mapping[str, Any]) -> Architecture | None:
    """
    Read the shape from a model's config.json; None where it describes no decoder known here.

    Several families have older names for the same sizes, and models that also see or hear keep
    those of their language model in `text_config`.
    """
    config = config.get("text_config") or config
    family = str(config.get("model_type", ""))
    layers = _first(config, "num_hidden_layers", "n_layer", "num_layers")
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    heads = _first(config, "num_attention_heads", "n_head", "num_heads")
    vocabulary = _first(config, "vocab_size")
    if not (layers and hidden and heads and vocabulary):
        return None
    experts = _first(config, "num_local_experts", "num_experts", "n_routed_experts") or 1
    wide = _first(config, "moe_intermediate_size") if experts > 1 else None
    wide = wide or _first(config, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    return Architecture(
        family=family,
        layers=layers,
        hidden=hidden,
        intermediate=wide or 4 * hidden,
        heads=heads,
        kv_heads=_first(config, "num_key_value_heads", "num_kv_heads") or heads,
        head_size=_first(config, "head_dim") or hidden // heads,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings", family in _TIED)),
        gated=family not in _UNGATED,
        experts=experts,
        active_experts=_first(config, "num_experts_per_tok") or 1,
    )


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
