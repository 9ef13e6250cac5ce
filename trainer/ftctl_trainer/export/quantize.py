"""Merged tensors to GGUF files, every type in one pass, by ggml's own quantizers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from ftctl_trainer.export import llama_cpp
from ftctl_trainer.export.blocks import Block, blocks, side_by_side
from ftctl_trainer.export.gguf_model import GgufModel
from ftctl_trainer.export.rounding import has_grid, keep_update, weighs
from ftctl_trainer.export.split import GgufParts
from ftctl_trainer.export.tensors import Array, Tensor


def write_ggufs(
    model: GgufModel, outputs: dict[str, Path], threads: int, split_bytes: int | None = None
) -> None:
    """
    Write one file a type. Each tensor is loaded once, in blocks, which threads encode meanwhile.

    Args:
        outputs: quantization type to file.
        split_bytes: tensors' bytes above which a file becomes several.
    """
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                GgufParts(
                    path,
                    model.header(qtype),
                    model.in_order(qtype),
                    model.plan(qtype),
                    split_bytes,
                )
            )
            for qtype, path in outputs.items()
        ]

        def write(of: tuple[Tensor, Block]) -> None:
            tensor, block = of
            weights = model.importance.of(tensor) if model.importance else None
            # Several outputs often agree on a type.
            kinds = {file.kinds[tensor.name] for file in files}
            encoded = {kind: _encode_block(tensor, block, kind, weights) for kind in kinds}
            for file in files:
                file.write(tensor.name, block.first_row, encoded[file.kinds[tensor.name]])

        side_by_side(write, _blocks(model.tensors, files), threads)


def encode(
    values: Array, kind: Kind, importance: Array | None = None, *, threads: int = 1
) -> NDArray[np.generic]:
    """The bytes of [rows, columns] in a GGUF type, as rows; `importance` is of the columns."""
    if kind == Kind.F32:
        return values
    if kind == Kind.F16:
        return values.astype(np.float16)
    if kind == Kind.BF16:
        return np.asarray(gguf.quantize(values, kind))
    return llama_cpp.quantize(values, int(kind), threads, importance)


def _blocks(
    tensors: list[Tensor], files: list[GgufParts]
) -> Iterator[tuple[tuple[Tensor, Block], int]]:
    """Every block, and its bytes."""
    for tensor in tensors:
        with_base = any(has_grid(file.kinds[tensor.name]) for file in files)
        for block in blocks(tensor, with_base=with_base):
            yield (tensor, block), block.nbytes


def _encode_block(
    tensor: Tensor, block: Block, kind: Kind, weights: Array | None
) -> NDArray[np.generic]:
    if weights is None or not weighs(kind):
        return encode(keep_update(block.values, block.base_if_lost(kind), kind), kind)
    rows = tensor.size // tensor.shape[-1] // len(weights)
    begin, end = block.first_row, block.first_row + len(block.values)
    pieces = []
    for expert in range(begin // rows, -(-end // rows)):
        first, last = max(begin, expert * rows) - begin, min(end, (expert + 1) * rows) - begin
        pieces.append(encode(block.values[first:last], kind, weights[expert]))
    return np.concatenate(pieces)
