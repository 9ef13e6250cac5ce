"""A merged model as GGUF files: by llama.cpp's own tools where they are, else built in."""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import gguf

from ftctl.contract.spec import PathsConfig
from ftctl_trainer.export import llama_family
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.merge import EMBEDDING, merged_tensors
from ftctl_trainer.export.plain_path import Tools, convert, quantize, save_merged
from ftctl_trainer.export.quantize import GgufModel, write_ggufs
from ftctl_trainer.export.readback import read_back
from ftctl_trainer.export.tensor_types import check_types
from ftctl_trainer.export.tensors import Tensor
from ftctl_trainer.export.unsupported import NeedsLlamaCppError
from ftctl_trainer.export.vocabulary import add_vocabulary
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """What a GGUF is made of: folders of the base model and the adapter, and a name for people."""

    base: Path
    adapter: Path
    name: str

    @property
    def tokenizer(self) -> Path:
        """The tokenizer as it was trained with, which the adapter's folder has."""
        saved = (self.adapter / file for file in ("tokenizer.json", "tokenizer.model"))
        return self.adapter if any(file.exists() for file in saved) else self.base


def find_tools(paths: PathsConfig) -> Tools | None:
    """llama.cpp's converter and quantizer, where paths.* lead to both: then they are wanted."""
    return _tools(Path(paths.llama_cpp_dir).expanduser(), paths.quantized_path)


def spare_tools() -> Tools | None:
    """
    Those that the convert image has, for models that the built-in export does not handle.

    FTCTL_LLAMA_CPP_DIR names their folder: paths.* are of the machine that the run was made on.
    """
    folder = os.environ.get("FTCTL_LLAMA_CPP_DIR")
    return _tools(Path(folder), PathsConfig().quantized_path) if folder else None


def _tools(folder: Path, quantizer: str) -> Tools | None:
    tools = Tools(folder / "convert_hf_to_gguf.py", folder / quantizer)
    # os.path: a folder of another machine may be one that we must not look into here.
    there = os.path.isfile(tools.converter) and os.path.isfile(tools.quantizer)
    return tools if there else None


def export(
    inputs: Inputs,
    outputs: dict[str, Path],
    *,
    tools: Tools | None,
    spare: Tools | None = None,
    scratch: Path,
    threads: int,
    stop: threading.Event,
) -> None:
    """
    Merge, write and quantize; then read every file back.

    Args:
        outputs: quantization type to the file to write.
        tools: take llama.cpp's own tools, for any architecture; None: built in, llama only.
        spare: tools for what turns out not to be handled built in.
        scratch: an empty folder.
    Raises:
        RunFailedError: adapter and base do not fit, or a kind of model not handled.
        VerificationError: a file does not hold what was merged.
        StoppedError: `stop` was set.
    """
    if tools is None:
        try:
            _export_built_in(inputs, outputs, threads, stop)
        except NeedsLlamaCppError as reason:
            if spare is None:
                raise
            log.info("export: %s", reason.what)
            tools = spare
        else:
            return
    _export_plain(inputs, outputs, tools, scratch, threads, stop)


def _export_built_in(
    inputs: Inputs, outputs: dict[str, Path], threads: int, stop: threading.Event
) -> None:
    check_types(outputs, built_in=True)
    log.info("export: built in (merge, GGUF and quantize in one pass; llama family)")
    isolated(stop, write_built_in, inputs, outputs, threads)
    checked = isolated(stop, read_back_built_in, inputs, outputs)
    log.info("read back: %d tensors are what was merged", checked)


def _export_plain(
    inputs: Inputs,
    outputs: dict[str, Path],
    tools: Tools,
    scratch: Path,
    threads: int,
    stop: threading.Event,
) -> None:
    log.info("export: plain path (merge, %s, %s)", tools.converter, tools.quantizer)
    merged, whole = scratch / "merged", scratch / "merged.gguf"
    isolated(stop, save_merged, inputs.base, inputs.adapter, inputs.tokenizer, merged)
    convert(tools, merged, whole, inputs.name, stop)
    for qtype, path in outputs.items():
        end_if_stopped(stop)
        quantize(tools, whole, path, qtype, threads, stop)
    checked = isolated(stop, read_back_converted, whole, outputs)
    log.info("read back: %d tensors are what was converted", checked)


def write_built_in(inputs: Inputs, outputs: dict[str, Path], threads: int) -> None:
    """Merge and write every type in one pass."""
    write_ggufs(built_in_model(inputs), outputs, threads)


def read_back_built_in(inputs: Inputs, outputs: dict[str, Path]) -> int:
    """Compare every file with the merge, done again; return the number of tensors."""
    return _read_back(built_in_model(inputs).tensors, outputs)


def read_back_converted(whole: Path, outputs: dict[str, Path]) -> int:
    """Compare every file with the one it was quantized from; return the number of tensors."""
    return _read_back([_stored(tensor) for tensor in gguf.GGUFReader(whole).tensors], outputs)


def built_in_model(inputs: Inputs) -> GgufModel:
    """
    Describe a merged llama as GGUF; nothing is read but headers and the tokenizer.

    Raises:
        RunFailedError: another architecture, or a tokenizer not handled here.
    """
    config = json.loads((inputs.base / "config.json").read_text(encoding="utf-8"))
    llama_family.check_supported(config, inputs.base)
    hyper = llama_family.Hyperparameters.read(config)
    merged = merged_tensors(inputs.base, inputs.adapter)
    vocabulary = next(tensor.shape[0] for tensor in merged if tensor.name == EMBEDDING)

    def add_metadata(writer: gguf.GGUFWriter) -> None:
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(inputs.name)
        llama_family.add_hyperparameters(writer, hyper, vocabulary)
        add_vocabulary(writer, inputs.tokenizer, vocabulary)

    return GgufModel(
        architecture=gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA],
        tensors=llama_family.gguf_tensors(merged, hyper),
        blocks=hyper.blocks,
        gqa=hyper.heads // hyper.kv_heads,
        add_metadata=add_metadata,
    )


def _read_back(tensors: list[Tensor], outputs: dict[str, Path]) -> int:
    return sum(1 for path in outputs.values() for _ in read_back(path, tensors))


def _stored(tensor: gguf.ReaderTensor) -> Tensor:
    shape = tuple(int(size) for size in reversed(tensor.shape))
    return Tensor(
        tensor.name,
        shape,
        lambda: gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape),
    )
