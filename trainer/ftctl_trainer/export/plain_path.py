"""The plain path: a merged folder, llama.cpp's own converter, then llama-quantize, a type each."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

from ftctl.storage.files import os_errors
from ftctl_trainer.export.companions import write_companions
from ftctl_trainer.export.importance import MATRIX
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.tools import Tools, run_tool
from ftctl_trainer.export.weights import stored_dtype, write_weights

# Above this many parameters float32 scratch files get too large; float16's rounding of 2^-12 of
# a value stays far below the finest quantization's half step, 2^-8 of a block's largest.
_FLOAT32_PARAMETERS = 2_000_000_000


def save_merged(base: Path, adapter: Path, tokenizer: Path, folder: Path) -> None:
    """
    Write the merged model as a transformers folder, a few rows in memory at a time.

    Raises:
        RunFailedError: adapter and base do not fit, or a value exceeds float16.
        StorageError: the folder cannot be written.
    """
    with os_errors(str(folder)):  # first of all: it is somebody's path
        folder.mkdir(parents=True, exist_ok=True)
    tensors = merged_tensors(base, adapter)
    small = sum(tensor.size for tensor in tensors) <= _FLOAT32_PARAMETERS
    tensors = [replace(tensor, dtype="F32" if small else "F16") for tensor in tensors]
    write_companions(base, tokenizer, tensors, stored_dtype(tensors), folder)
    for _ in write_weights(tensors, folder):
        pass


def convert(tools: Tools, merged: Path, target: Path, name: str, stop: threading.Event) -> None:
    """Run llama.cpp's converter over a merged folder, at the folder's own precision."""
    config = json.loads((merged / "config.json").read_text(encoding="utf-8"))
    outtype = "f32" if config["dtype"] == "float32" else "f16"
    run_tool([sys.executable, str(tools.converter), str(merged), "--outfile", str(target),
          "--outtype", outtype, "--model-name", name], stop)  # fmt: skip


def quantize(
    tools: Tools, source: Path, target: Path, qtype: str, threads: int, stop: threading.Event
) -> None:
    """Run llama-quantize from one GGUF to another, with an importance matrix that lies there."""
    folder = source.parent
    weighed = ["--imatrix", MATRIX] if (folder / MATRIX).exists() else []
    paths = [str(source.absolute()), str(target.absolute())]
    command = [str(tools.quantizer.absolute()), *weighed, *paths, qtype.upper(), str(threads)]
    run_tool(command, stop, folder=folder)
