"""The merged model as a transformers folder in the store, as vLLM and others load it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl.contract import layout
from ftctl.contract.lineage import FileRecord
from ftctl.errors import RunFailedError
from ftctl.storage.base import Store
from ftctl.storage.files import os_errors
from ftctl_trainer.export.companions import write_companions
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.tensors import Array, Tensor, row_blocks
from ftctl_trainer.stop import end_if_stopped

SHARD_BYTES = 4_000_000_000
INDEX = "model.safetensors.index.json"
# safetensors' name to numpy's, and the name that config.json has for it.
_STORED = {"BF16": ("<u2", "bfloat16"), "F16": ("<f2", "float16"), "F32": ("<f4", "float32")}


def upload_merged(
    store: Store,
    prefix: str,
    base: Path,
    adapter: Path,
    tokenizer: Path,
    folder: Path,
    stop: threading.Event,
) -> list[FileRecord]:
    """
    Merge once more, shard by shard, each uploaded before the next is made; the marker is missing.

    Every tensor has the format that it has in the base, rounded to nearest.

    Args:
        folder: an empty one, for a shard and the small files.
    Raises:
        RunFailedError: a value is beyond the format's range.
        StoppedError: `stop` was set.
    """
    store.delete(layout.marker(prefix))
    tensors = merged_tensors(base, adapter)
    write_companions(base, tokenizer, tensors, _config_dtype(tensors), folder)
    shards = list(_shards(tensors, SHARD_BYTES))
    names = {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": shard
        for number, shard in enumerate(shards, start=1)
    }
    total = sum(_bytes(tensor) for tensor in tensors)
    weights = {tensor.name: name for name, shard in names.items() for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": weights}
    with os_errors(str(folder)):
        (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
        small = sorted(path for path in folder.iterdir() if path.is_file())
    records = [_uploaded(store, prefix, path) for path in small]
    for name, shard in names.items():
        with os_errors(str(folder)):
            write_shard(folder / name, shard, stop)
        records.append(_uploaded(store, prefix, folder / name))
        (folder / name).unlink()
    return sorted(records, key=lambda record: record.name)


def write_shard(file: Path, tensors: list[Tensor], stop: threading.Event) -> None:
    """Write tensors, merged a few rows at a time, as one safetensors file."""
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
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            end_if_stopped(stop)
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


def _shards(tensors: list[Tensor], limit: int) -> Iterator[list[Tensor]]:
    shard: list[Tensor] = []
    size = 0
    for tensor in tensors:
        added = _bytes(tensor)
        if shard and size + added > limit:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += added
    yield shard


def _uploaded(store: Store, prefix: str, path: Path) -> FileRecord:
    digest = store.upload(path, prefix + path.name)
    return FileRecord(name=path.name, size=path.stat().st_size, sha256=digest)


def _bytes(tensor: Tensor) -> int:
    return tensor.size * np.dtype(_STORED[_dtype(tensor)][0]).itemsize


def _dtype(tensor: Tensor) -> str:
    return tensor.dtype if tensor.dtype in _STORED else "F32"


def _config_dtype(tensors: list[Tensor]) -> str:
    """That of most values."""
    values = dict.fromkeys(_STORED, 0)
    for tensor in tensors:
        values[_dtype(tensor)] += tensor.size
    return _STORED[max(values, key=lambda dtype: values[dtype])][1]
