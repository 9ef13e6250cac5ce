"""Tensors as safetensors shards of a transformers folder, merged while they are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl.errors import RunFailedError
from ftctl.storage.files import os_errors
from ftctl_trainer.export.tensors import Array, Tensor, row_blocks

SHARD_BYTES = 4_000_000_000
INDEX = "model.safetensors.index.json"
# safetensors' name to numpy's, and the name that config.json has for it.
_STORED = {"BF16": ("<u2", "bfloat16"), "F16": ("<f2", "float16"), "F32": ("<f4", "float32")}


def write_weights(
    tensors: list[Tensor], folder: Path, *, on_tensor: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """
    Write the index, then shard after shard; yield each, which may be gone before the next.

    Every tensor is rounded to its own `dtype`, to nearest.

    Args:
        on_tensor: called before each tensor; may raise to end early.
    Raises:
        RunFailedError: a value is beyond the range of its format.
        StorageError: the folder cannot be written.
    """
    cut = list(_shards(tensors))
    names = {
        f"model-{number:05d}-of-{len(cut):05d}.safetensors": shard
        for number, shard in enumerate(cut, start=1)
    }
    total = sum(_bytes(tensor) for tensor in tensors)
    weights = {tensor.name: name for name, shard in names.items() for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": weights}
    with os_errors(str(folder)):
        (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    yield folder / INDEX
    for name, shard in names.items():
        _write_shard(folder / name, shard, on_tensor)
        yield folder / name


def stored_dtype(tensors: list[Tensor]) -> str:
    """The format of most values, as config.json names it."""
    values = dict.fromkeys(_STORED, 0)
    for tensor in tensors:
        values[_dtype(tensor)] += tensor.size
    return _STORED[max(values, key=lambda dtype: values[dtype])][1]


def _write_shard(file: Path, tensors: list[Tensor], on_tensor: Callable[[], None]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + _bytes(tensor)
        header[tensor.name] = {
            "dtype": _dtype(tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with os_errors(str(file)), file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            on_tensor()
            for values in _pieces(tensor):
                stream.write(_narrowed(values, tensor).tobytes())


def _pieces(tensor: Tensor) -> Iterator[Array]:
    if tensor.rows is None:
        yield tensor.load()
        return
    for block in row_blocks(tensor.shape):
        yield tensor.rows(block.start, block.stop)


def _narrowed(values: Array, tensor: Tensor) -> NDArray[Any]:
    dtype = _dtype(tensor)
    if dtype == "BF16":
        bits = values.view(np.uint32)
        nearest = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
        narrow: NDArray[Any] = nearest.astype(np.uint16)
        beyond = bool(((narrow & 0x7F80) == 0x7F80).any())
    else:
        with np.errstate(over="ignore"):
            narrow = values.astype(_STORED[dtype][0])
        beyond = not np.isfinite(narrow).all()
    if beyond:
        raise RunFailedError(f"{tensor.name} has values beyond the range of {dtype}")
    return narrow


def _shards(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    shard: list[Tensor] = []
    size = 0
    for tensor in tensors:
        added = _bytes(tensor)
        if shard and size + added > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += added
    yield shard


def _bytes(tensor: Tensor) -> int:
    return tensor.size * np.dtype(_STORED[_dtype(tensor)][0]).itemsize


def _dtype(tensor: Tensor) -> str:
    return tensor.dtype if tensor.dtype in _STORED else "F32"
