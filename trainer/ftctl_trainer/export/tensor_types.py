"""
Which type each tensor of a llama gets under a quantization, as llama-quantize decides.

Source: llama.cpp, src/llama-quant.cpp, for a dense llama and without an importance matrix; held
to `llama-quantize --dry-run`. Other types need llama-quantize itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import gguf
from gguf import GGMLQuantizationType as Kind

from ftctl.contract import qtypes
from ftctl.contract.exportable import BUILT_IN_TYPES
from ftctl.errors import ConfigError
from ftctl_trainer.export.tensors import Tensor
from ftctl_trainer.export.unsupported import needs_llama_cpp

# What most matrices get.
_DEFAULT: dict[str, Kind] = {
    "f32": Kind.F32,
    "f16": Kind.F16,
    "bf16": Kind.BF16,
    "q4_0": Kind.Q4_0,
    "q4_1": Kind.Q4_1,
    "q5_0": Kind.Q5_0,
    "q5_1": Kind.Q5_1,
    "q8_0": Kind.Q8_0,
    "q2_k": Kind.Q2_K,
    "q3_k_s": Kind.Q3_K,
    "q3_k_m": Kind.Q3_K,
    "q3_k_l": Kind.Q3_K,
    "q4_k_s": Kind.Q4_K,
    "q4_k_m": Kind.Q4_K,
    "q5_k_s": Kind.Q5_K,
    "q5_k_m": Kind.Q5_K,
    "q6_k": Kind.Q6_K,
    "iq4_nl": Kind.IQ4_NL,
    "iq4_xs": Kind.IQ4_XS,
}
_FLOATS = frozenset({Kind.F32, Kind.F16, Kind.BF16})
# Where the columns are no multiple of the 256 of a super-block.
_SMALLER_BLOCKS = {
    Kind.IQ4_XS: Kind.IQ4_NL,
    Kind.Q2_K: Kind.Q4_0,
    Kind.Q3_K: Kind.Q4_0,
    Kind.Q4_K: Kind.Q5_0,
    Kind.Q5_K: Kind.Q5_1,
    Kind.Q6_K: Kind.Q8_0,
}


def check_types(names: Iterable[str], *, built_in: bool, weighed: bool = False) -> None:
    """
    Refuse, before any work, the types that cannot be made here.

    Raises:
        ConfigError: a type that needs an importance matrix.
        RunFailedError: a type that only llama-quantize can plan, where it is not used.
    """
    for name in names:
        if name in qtypes.NEED_IMATRIX and not weighed:
            raise ConfigError(
                f"{name} needs an importance matrix",
                where="model.qtype",
                hint="Set quantize.imatrix=true, or choose a type of more bits: q4_k_m, iq4_xs.",
            )
        if built_in and name not in BUILT_IN_TYPES:
            raise needs_llama_cpp(f"quantization type {name}", where="model.qtype")


def plan(qtype: str, tensors: Iterable[Tensor], *, blocks: int, gqa: int) -> dict[str, Kind]:
    """
    Choose a type for every tensor, by name.

    Args:
        qtype: a name that check_types accepts.
        tensors: of the GGUF, by its names.
        blocks: number of layers.
        gqa: query heads a key-value head.
    """
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    shared = "output.weight" not in shapes
    default = _DEFAULT[qtype]
    chosen = {}
    for name, shape in shapes.items():
        kind = default
        if len(shape) < 2 or "norm" in name:
            kind = Kind.F32
        elif default not in _FLOATS:
            kind = _of_matrix(name, qtype, shape[-1], shared=shared, blocks=blocks, gqa=gqa)
            kind = _fitting(kind, shape[-1])
        chosen[name] = kind
    return chosen


def _of_matrix(name: str, qtype: str, columns: int, *, shared: bool, blocks: int, gqa: int) -> Kind:
    default = _DEFAULT[qtype]
    if name == "output.weight" or (shared and name == "token_embd.weight"):
        if default == Kind.Q8_0 or columns % gguf.GGML_QUANT_SIZES[default][0]:
            return Kind.Q8_0
        return Kind.Q6_K
    if not name.startswith("blk."):
        return default
    layer, part = int(name.split(".")[1]), name.split(".")[2]
    match part:
        case "attn_v":
            return _of_attention_v(qtype, layer, blocks, gqa)
        case "ffn_down":
            return _of_ffn_down(qtype, layer, blocks)
        case "attn_output":
            kinds = {"q2_k": Kind.Q3_K, "q3_k_m": Kind.Q4_K, "q3_k_l": Kind.Q5_K}
            return kinds.get(qtype, default)
    return default


def _of_attention_v(qtype: str, layer: int, blocks: int, gqa: int) -> Kind:
    match qtype:
        case "q2_k":
            return Kind.Q4_K if gqa >= 4 else Kind.Q3_K
        case "q3_k_m":
            return Kind.Q5_K if layer < 2 else Kind.Q4_K
        case "q3_k_l":
            return Kind.Q5_K
        case "iq4_nl" | "iq4_xs" if gqa >= 4:
            return Kind.Q5_K
        case "q4_k_m" | "q5_k_m" if _more_bits(layer, blocks):
            return Kind.Q6_K
        case "q4_k_s" if layer < 4:
            return Kind.Q5_K
    # 70B has 80 layers of 8 query heads a key-value head: its small attn_v gets more bits.
    if blocks == 80 and gqa == 8 and _DEFAULT[qtype] in (Kind.Q3_K, Kind.Q4_K):
        return Kind.Q5_K
    return _DEFAULT[qtype]


def _of_ffn_down(qtype: str, layer: int, blocks: int) -> Kind:
    match qtype:
        case "q2_k":
            return Kind.Q3_K
        case "q3_k_m":
            return Kind.Q5_K if layer < blocks // 16 else Kind.Q4_K
        case "q3_k_l":
            return Kind.Q5_K
        case "q4_k_m" | "q5_k_m" if _more_bits(layer, blocks):
            return Kind.Q6_K
        case "iq4_nl" | "iq4_xs" | "q4_k_s" if layer < blocks // 8:
            return Kind.Q5_K
    return _DEFAULT[qtype]


def _more_bits(layer: int, blocks: int) -> bool:
    first = blocks // 8
    return layer < first or layer >= 7 * blocks // 8 or (layer - first) % 3 == 2


def _fitting(kind: Kind, columns: int) -> Kind:
    if columns % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = _SMALLER_BLOCKS.get(kind, kind)
    return Kind.F16 if columns % gguf.GGML_QUANT_SIZES[kind][0] else kind
