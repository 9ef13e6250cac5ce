"""The plain path: a merged folder, llama.cpp's own converter, then llama-quantize, a type each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ftctl.errors import RunFailedError
from ftctl.storage.files import os_errors
from ftctl_trainer.export.merge import EMBEDDING, OUTPUT, merged_tensors
from ftctl_trainer.export.tensors import Array, Tensor
from ftctl_trainer.stop import end_if_stopped

# Above this many parameters float32 scratch files get too large; float16's rounding of 2^-12 of
# a value stays far below the finest quantization's half step, 2^-8 of a block's largest.
_FLOAT32_PARAMETERS = 2_000_000_000
_SHARD_BYTES = 4_000_000_000
_POLL_S = 0.2


@dataclass(frozen=True)
class Tools:
    """llama.cpp's convert_hf_to_gguf.py and llama-quantize."""

    converter: Path
    quantizer: Path


def save_merged(base: Path, adapter: Path, tokenizer: Path, folder: Path) -> None:
    """
    Write the merged model as a transformers folder, one tensor in memory at a time.

    Raises:
        RunFailedError: adapter and base do not fit, or a value exceeds float16.
        StorageError: the folder cannot be written.
    """
    with os_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    for source in (base, tokenizer):
        for file in source.iterdir():
            if _is_companion(file):
                shutil.copyfile(file, folder / file.name)
    tensors = merged_tensors(base, adapter)
    parameters = sum(int(np.prod(tensor.shape, dtype=np.int64)) for tensor in tensors)
    dtype = np.dtype("<f4" if parameters <= _FLOAT32_PARAMETERS else "<f2")
    shards = list(_shards(tensors, dtype.itemsize))
    weights: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / name, shard, dtype)
        weights |= {tensor.name: name for tensor in shard}
    index = {"metadata": {"total_size": parameters * dtype.itemsize}, "weight_map": weights}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _write_config(base, folder, tensors, dtype)


def convert(tools: Tools, merged: Path, target: Path, name: str, stop: threading.Event) -> None:
    """Run llama.cpp's converter over a merged folder, at the folder's own precision."""
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    outtype = "f32" if config["dtype"] == "float32" else "f16"
    _run([sys.executable, str(tools.converter), str(merged), "--outfile", str(target),
          "--outtype", outtype, "--model-name", name], stop)  # fmt: skip


def quantize(
    tools: Tools, source: Path, target: Path, qtype: str, threads: int, stop: threading.Event
) -> None:
    """Run llama-quantize from one GGUF to another."""
    _run([str(tools.quantizer), str(source), str(target), qtype.upper(), str(threads)], stop)


def _run(command: list[str], stop: threading.Event) -> None:
    """
    Run a tool to its end.

    Raises:
        RunFailedError: it failed; the end of what it said is the hint.
        StoppedError: `stop` was set; the tool was killed.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    process.kill()
                end_if_stopped(stop)
    if process.returncode != 0:
        raise RunFailedError(
            f"ended with code {process.returncode}",
            where=command[1] if command[0] == sys.executable else command[0],
            hint="\n".join(said.strip().splitlines()[-5:]),
        )


def _is_companion(file: Path) -> bool:
    """Whether a file goes along with the weights: settings and tokenizer."""
    # The converter takes a model card's words, local paths among them, into the metadata.
    left_out = (
        file.suffix in (".safetensors", ".bin", ".gguf", ".md") or "safetensors.index" in file.name
    )
    return file.is_file() and not left_out and not file.name.startswith(("_", "adapter_"))


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


def _write_config(base: Path, folder: Path, tensors: list[Tensor], dtype: np.dtype) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    config["dtype"] = config["torch_dtype"] = dtype.name
    config["tie_word_embeddings"] = OUTPUT not in shapes
    if EMBEDDING in shapes:
        config["vocab_size"] = shapes[EMBEDDING][0]
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
