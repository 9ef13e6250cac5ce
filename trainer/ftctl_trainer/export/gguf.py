"""A merged model as GGUF files: by llama.cpp's converter where it is, else built in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path

import gguf

from ftctl_trainer.export.built_in import built_in_model
from ftctl_trainer.export.converter import converted_model
from ftctl_trainer.export.gguf_model import GgufModel
from ftctl_trainer.export.importance import (
    compute_importance,
    has_texts,
    read_importance,
    write_texts,
)
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.isolated import isolated, isolated_beside
from ftctl_trainer.export.plain_path import convert, quantize, save_merged
from ftctl_trainer.export.quantize import write_ggufs
from ftctl_trainer.export.readback import read_back
from ftctl_trainer.export.split import parts_of, split_file
from ftctl_trainer.export.tensor_types import check_types
from ftctl_trainer.export.tensors import Tensor
from ftctl_trainer.export.tools import Tools
from ftctl_trainer.export.unsupported import CannotStreamError
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)


def export(
    inputs: Inputs,
    outputs: dict[str, Path],
    *,
    tools: Tools | None,
    scratch: Path,
    threads: int,
    stop: threading.Event,
    texts: Iterable[str] | None = None,
    split_bytes: int | None = None,
) -> None:
    """
    Merge, write and quantize; then read every file back.

    Args:
        outputs: quantization type to the file to write.
        tools: llama.cpp's own, for any architecture; None: built in, llama only.
        scratch: an empty folder.
        texts: weigh columns by their importance for these; llama-imatrix must be there.
        split_bytes: tensors' bytes above which a file becomes several: parts_of() has them.
    Raises:
        RunFailedError: adapter and base do not fit, or a kind of model not handled.
        VerificationError: a file does not hold what was merged.
        StoppedError: `stop` was set.
    """
    check_types(outputs, built_in=tools is None, weighed=texts is not None)
    if texts is not None:
        write_texts(texts, scratch)
    if tools is None:
        log.info("export: built in (merge, GGUF and quantize in one pass; llama family)")
        _export_in_one_pass(inputs, outputs, tools, scratch, threads, stop, split_bytes)
        return
    log.info("export: merge, GGUF and quantize in one pass, by the converter of %s", tools.sources)
    try:
        _export_in_one_pass(inputs, outputs, tools, scratch, threads, stop, split_bytes)
    except CannotStreamError as reason:
        log.info("export: not in one pass: %s", reason.what)
        _export_plain(inputs, outputs, tools, scratch, threads, stop, split_bytes)


def _export_in_one_pass(
    inputs: Inputs,
    outputs: dict[str, Path],
    tools: Tools | None,
    scratch: Path,
    threads: int,
    stop: threading.Event,
    split_bytes: int | None,
) -> None:
    # The converter wants the package gguf of its own version.
    packages = {"gguf": tools.sources / "gguf-py"} if tools else {}
    if tools is not None and has_texts(scratch):
        first = scratch / "first.gguf"
        seen = {"f16": first}
        isolated_beside(packages, stop, write_merged, inputs, seen, tools, scratch, threads)
        compute_importance(tools, first, scratch, threads, stop)
        first.unlink()
    isolated_beside(
        packages, stop, write_merged, inputs, outputs, tools, scratch, threads, split_bytes
    )
    checked = isolated_beside(
        packages, stop, read_back_merged, inputs, outputs, tools, scratch, threads
    )
    log.info("read back: %d tensors are what was merged", checked)


def _export_plain(
    inputs: Inputs,
    outputs: dict[str, Path],
    tools: Tools,
    scratch: Path,
    threads: int,
    stop: threading.Event,
    split_bytes: int | None,
) -> None:
    log.info("export: plain path (merge, %s, %s)", tools.converter, tools.quantizer)
    merged, whole = scratch / "merged", scratch / "merged.gguf"
    isolated(stop, save_merged, inputs.base, inputs.adapter, inputs.tokenizer, merged)
    convert(tools, merged, whole, inputs.name, stop)
    if has_texts(scratch):
        compute_importance(tools, whole, scratch, threads, stop)
    for qtype, path in outputs.items():
        end_if_stopped(stop)
        quantize(tools, whole, path, qtype, threads, stop)
        if split_bytes is not None:
            isolated(stop, split_file, path, split_bytes)
    checked = isolated(stop, read_back_converted, whole, outputs, scratch, threads)
    log.info("read back: %d tensors are what was converted", checked)


def write_merged(
    inputs: Inputs,
    outputs: dict[str, Path],
    tools: Tools | None,
    scratch: Path,
    threads: int,
    split_bytes: int | None = None,
) -> None:
    """Merge and write every type in one pass."""
    write_ggufs(_model(inputs, tools, scratch), outputs, threads, split_bytes)


def read_back_merged(
    inputs: Inputs, outputs: dict[str, Path], tools: Tools | None, scratch: Path, threads: int
) -> int:
    """Compare every file with the merge, done again; return the number of tensors."""
    model = _model(inputs, tools, scratch)
    return read_back(map(parts_of, outputs.values()), model.tensors, threads, model.importance)


def read_back_converted(whole: Path, outputs: dict[str, Path], scratch: Path, threads: int) -> int:
    """Compare every file with the one it was quantized from; return the number of tensors."""
    stored = [_stored(tensor) for tensor in gguf.GGUFReader(whole).tensors]
    return read_back(map(parts_of, outputs.values()), stored, threads, read_importance(scratch))


def _model(inputs: Inputs, tools: Tools | None, scratch: Path) -> GgufModel:
    if tools is None:
        return built_in_model(inputs)
    return converted_model(inputs, tools, scratch)


def _stored(tensor: gguf.ReaderTensor) -> Tensor:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return Tensor(
        tensor.name,
        shape,
        lambda: gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape),
    )
