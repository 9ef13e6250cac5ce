"""The plain path: a merged folder, llama.cpp's own converter, then llama-quantize, a type each."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ftctl.errors import RunFailedError
from ftctl_trainer.export.companions import write_companions
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.tensors import Array, Tensor
from ftctl_trainer.export.tools import Tools, run_tool

# Above this many parameters float32 scratch files get too large; float16's rounding of 2^-12 of
# a value stays far below the finest quantization's half step, 2^-8 of a block's largest.
_FLOAT32_PARAMETERS = 2_000_000_000
_SHARD_BYTES = 4_000_000_000


def save_merged(base: Path, adapter: Path, tokenizer: Path, folder: Path) -> None:
    """
    Write the merged model as a transformers folder, one tensor in memory at a time.

    Raises:
        RunFailedError: adapter and base do not fit, or a value exceeds float16.
        StorageError: the folder cannot be written.
    """
    tensors = merged_tensors(base, adapter)
    parameters = sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in tensors)
    dtype = np.dtype("<f4" if parameters <= _FLOAT32_PARAMETERS else "<f2")
    write_companions(base, tokenizer, tensors, dtype.name, folder)
    shards = list(_shards(tensors, dtype.itemsize))
    weights: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / name, shard, dtype)
        weights |= {tensor.name: name for tensor in shard}
    index = {"metadata": {"total_size": parameters * dtype.itemsize}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def convert(tools: Tools, merged: Path, target: Path, name: str, stop: threading.Event) -> None:
    """Run llama.cpp's converter over a merged folder, at the folder's own precision."""
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    outtype = "f32" if config["dtype"] == "float32" else "f16"
    run_tool([sys.executable, str(tools.converter), str(merged), "--outfile", str(target),
          "--outtype", outtype, "--model-name", name], stop)  # fmt: skip


def quantize(
    tools: Tools, source: Path, target: Path, qtype: str, threads: int, stop: threading.Event
) -> None:
    """Run llama-quantize from one GGUF to another."""
    run_tool([str(tools.quantizer), str(source), str(target), qtype.upper(), str(threads)], stop)


def _shards(tensors: list[Tensor], itemsize: int) -> Iterator[list[Tensor]]:
    shard: list[Tensor] = []
    size = 0
    for tensor in tensors:
        added = int(np.prod(tensor.shape, dtype=np.int64)) * itemsize
        if shard and size + added > _SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(tensor)
        size += added
    yield shard


def _write_shard(file: Path, shard: list[Tensor], dtype: np.dtype) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in shard:
        end = offset + int(np.prod(tensor.shape, dtype=np.int64)) * dtype.itemsize
        header[tensor.name] = {
            "dtype": "F32" if dtype.itemsize == 4 else "F16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in shard:
            stream.write(_narrowed(tensor, dtype).tobytes())


def _narrowed(tensor: Tensor, dtype: np.dtype) -> Array:
    with np.errstate(over="ignore"):
        values = tensor.load().astype(dtype)
    if not np.isfinite(values).all():
        raise RunFailedError(f"{tensor.name} has values beyond float16's range")
    return values
