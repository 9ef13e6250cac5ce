"""A model by the names and in the layout of its GGUF."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gguf
from gguf import GGMLQuantizationType as Kind
from gguf.gguf_writer import GGUFValue

from ftctl.contract.qtypes import FTYPES
from ftctl_trainer.export.gguf_file import Metadata
from ftctl_trainer.export.importance import Importance
from ftctl_trainer.export.tensors import Tensor

FLOATS = frozenset({"f32", "f16", "bf16"})
_FILE_TYPE = gguf.Keys.General.FILE_TYPE
_VERSION = gguf.Keys.General.QUANTIZATION_VERSION
_LAYER = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class GgufModel:
    """Tensors and metadata; `plan` gives every tensor's type under a quantization."""

    tensors: list[Tensor]
    metadata: Metadata
    plan: Callable[[str], Mapping[str, Kind]]
    importance: Importance | None = None

    def header(self, qtype: str) -> dict[str, Any]:
        """
        All keys of a file: llama.cpp's converter makes those of a float type, and llama-quantize,
        which puts what it sets last, those of any other.
        """
        keys = dict(self.metadata)
        if qtype not in FLOATS:
            keys.pop(_VERSION, None)
            keys.pop(_FILE_TYPE, None)
        keys[_VERSION] = _unsigned(gguf.GGML_QUANT_VERSION)
        keys[_FILE_TYPE] = _unsigned(FTYPES[qtype])
        if self.importance is not None and qtype not in FLOATS:
            keys |= self.importance.keys
        return keys

    def in_order(self, qtype: str) -> list[Tensor]:
        """Tensors as they stand in a file: as the converter has them, or as llama-quantize."""
        if qtype in FLOATS:
            return self.tensors
        ordered = sorted(self.tensors, key=_loader_order)
        return [replace(tensor, shape=without_ones(tensor.shape)) for tensor in ordered]


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as ggml counts axes (ggml_n_dims): outer ones of length 1 are none."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _loader_order(tensor: Tensor) -> tuple[int, bytes]:
    # llama-model-loader.h: weight_name_comparer.
    layer = _LAYER.match(tensor.name)
    return int(layer[1]) if layer else -1, tensor.name.encode()


def _unsigned(value: int) -> GGUFValue:
    return GGUFValue(value, gguf.GGUFValueType.UINT32)
