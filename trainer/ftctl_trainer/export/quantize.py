"""Merged tensors to GGUF files, every type in one pass, by ggml's own quantizers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from ftctl.contract.qtypes import FTYPES
from ftctl_trainer.export import llama_cpp
from ftctl_trainer.export.rounding import keep_update
from ftctl_trainer.export.tensor_types import plan
from ftctl_trainer.export.tensors import Array, Tensor


@dataclass(frozen=True)
class GgufModel:
    """A model by the names and in the layout of its GGUF; `gqa` is query heads a kv head."""

    architecture: str
    tensors: list[Tensor]
    blocks: int
    gqa: int
    add_metadata: Callable[[gguf.GGUFWriter], None]


def write_ggufs(model: GgufModel, outputs: dict[str, Path], threads: int) -> None:
    """
    Write one file a type. Each tensor is loaded once, and only one is held at a time.

    Args:
        outputs: quantization type to file.
    """
    with ExitStack() as stack:
        files = []
        for qtype, path in outputs.items():
            kinds = plan(qtype, model.tensors, blocks=model.blocks, gqa=model.gqa)
            writer = stack.enter_context(closing(_started(model, qtype, kinds, path)))
            files.append((writer, kinds))
        for tensor in model.tensors:
            values = tensor.load()
            base = tensor.base() if tensor.base else None
            # Several outputs often agree on a type.
            encoded: dict[Kind, NDArray[np.generic]] = {}
            for writer, kinds in files:
                kind = kinds[tensor.name]
                if kind not in encoded:
                    encoded[kind] = encode(keep_update(values, base, kind), kind, threads)
                writer.write_tensor_data(encoded[kind])


def encode(values: Array, kind: Kind, threads: int) -> NDArray[np.generic]:
    """The bytes of a tensor in a GGUF type, as rows."""
    if kind == Kind.F32:
        return values
    if kind == Kind.F16:
        return values.astype(np.float16)
    if kind == Kind.BF16:
        return np.asarray(gguf.quantize(values, kind))
    return llama_cpp.quantize(values, int(kind), threads)


def _started(model: GgufModel, qtype: str, kinds: dict[str, Kind], path: Path) -> gguf.GGUFWriter:
    """Open a file and write all that stands before its tensors' data."""
    writer = gguf.GGUFWriter(path, model.architecture)
    model.add_metadata(writer)
    writer.add_file_type(FTYPES[qtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor in model.tensors:
        kind = kinds[tensor.name]
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        size = int(np.prod(tensor.shape, dtype=np.int64)) // block * block_bytes
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer
