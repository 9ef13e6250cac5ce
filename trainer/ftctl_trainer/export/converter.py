"""
llama.cpp's own converter, fed with merged tensors that are not in memory yet.

Names, layout, metadata and tokenizer are those of the package `conversion` of llama.cpp's sources,
for every architecture that it knows. Its classes build a tree of operations for each tensor
(LazyTorchTensor), which is evaluated here when the tensor is written, and not kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

from ftctl.errors import FtctlError, RunFailedError
from ftctl_trainer.export.companions import write_companions
from ftctl_trainer.export.dry_run import planned_kinds
from ftctl_trainer.export.gguf_model import FLOATS, GgufModel
from ftctl_trainer.export.importance import read_importance
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.isolated import import_from
from ftctl_trainer.export.lazy_tree import Leaves
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.tensors import Tensor
from ftctl_trainer.export.tools import Tools
from ftctl_trainer.export.unsupported import CannotStreamError, NeedsLlamaCppError
from ftctl_trainer.export.vocabulary import pre_tokenizer

_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}


def converted_model(inputs: Inputs, tools: Tools, scratch: Path) -> GgufModel:
    """
    Describe a merged model as llama.cpp's converter does; only headers and tokenizer are read.

    In this process the package `gguf` must be that of llama.cpp's sources.

    Args:
        tools: its converter, and llama-quantize, which plans the types.
        scratch: a folder for small files; it may have an importance matrix.
    Raises:
        CannotStreamError: the converter reads or makes this model's tensors in its own way.
        RunFailedError: it does not know the architecture; or adapter and base do not fit.
    """
    tensors = merged_tensors(inputs.base, inputs.adapter)
    # The converter takes words from the folder's name: the plain path's has the same.
    merged = scratch / "merged"
    write_companions(inputs.base, inputs.tokenizer, tensors, "float32", merged)
    whole = _Conversion(tools.sources, tensors, merged, inputs.name, "f32").run()
    for name, info in whole.writer.tensors[0].items():
        if info.dtype != Kind.F32:
            raise CannotStreamError(f"the converter itself makes {name} {info.dtype.name}")

    importance = read_importance(scratch)
    model = GgufModel(whole.gguf_tensors(), whole.writer.kv_data[0], lambda _: {}, importance)

    def plan(qtype: str) -> Mapping[str, Kind]:
        if qtype in FLOATS:
            made = whole if qtype == "f32" else replace(whole, qtype=qtype).run()
            return {name: Kind(info.dtype) for name, info in made.writer.tensors[0].items()}
        return planned_kinds(model, qtype, tools.quantizer, scratch)

    return replace(model, plan=plan)


@contextmanager
def cannot_stream(architecture: str) -> Iterator[None]:
    """The edge to llama.cpp's code, which raises anything: all that is not ours becomes one."""
    try:
        yield
    except FtctlError:
        raise
    except Exception as error:
        raise CannotStreamError(f"{architecture}: {type(error).__name__}: {error}") from error


@dataclass
class _Conversion:
    """One run of the converter over a merged model, up to where it would write the file."""

    sources: Path
    tensors: list[Tensor]
    merged: Path
    name: str
    qtype: str
    _leaves: Leaves = field(init=False)
    _architecture: str = field(init=False, default="")
    _untouched: dict[str, Tensor] = field(init=False, default_factory=dict)
    writer: gguf.GGUFWriter = field(init=False)

    def run(self) -> _Conversion:
        """Let the converter describe the model."""
        logging.getLogger("hf-to-gguf").setLevel(logging.ERROR)
        with cannot_stream("llama.cpp's converter"):
            llama = import_from(self.sources, "conversion")
            self._leaves = Leaves(self.tensors, import_module("conversion.base").LazyTorchTensor)
            known = self._known_class(llama)
            model = self._ours(llama, known)(
                self.merged,
                getattr(gguf.LlamaFileType, _FILE_TYPES[self.qtype]),
                self.merged / "nowhere" / "model.gguf",  # a class that writes by itself fails
                model_name=self.name,
            )
            self.writer = model.gguf_writer
            for step in ("header_to_file", "kv_data_to_file", "tensors_to_file"):
                setattr(self.writer, f"write_{step}", _nothing)
            model.write()
        if not self.writer.tensors[0]:
            raise CannotStreamError(f"{self._architecture}: the converter writes by itself")
        return self

    def gguf_tensors(self) -> list[Tensor]:
        """The converter's tensors; those that are ones of ours, or stacks of them, as these."""
        return [self._tensor(name, info) for name, info in self.writer.tensors[0].items()]

    def _known_class(self, llama: Any) -> Any:
        settings = llama.ModelBase.load_hparams(self.merged, False)
        self._architecture = llama.get_model_architecture(settings, llama.ModelType.TEXT)
        try:
            return llama.get_model_class(self._architecture)
        except NotImplementedError as error:
            raise RunFailedError(
                f"{self._architecture}: llama.cpp's converter does not know this architecture",
                where=str(self.merged / "config.json"),
                hint="A newer llama.cpp may: set paths.llama_cpp_dir to it.",
            ) from error

    def _ours(self, llama: Any, known: Any) -> Any:
        """The converter's class for this model, with our tensors and an eye on what it does."""

        def index_tensors(model: Any, remote_hf_model_id: object = None) -> dict[str, Any]:
            found = {}
            for name, leaf in self._leaves.items():
                if item := model.filter_tensors((name, _always(leaf))):
                    found[item[0]] = item[1]
            return found

        def modify_tensors(
            model: Any, data_torch: Any, name: str, bid: int | None
        ) -> Iterable[tuple[str, Any]]:
            for new_name, made in known.modify_tensors(model, data_torch, name, bid):
                if origin := self._leaves.origin(made):
                    self._untouched[new_name] = origin
                yield new_name, made

        def get_vocab_base_pre(model: Any, tokenizer: Any) -> str:
            try:
                return str(known.get_vocab_base_pre(model, tokenizer))
            except NotImplementedError as unknown:  # by its hash; added tokens change that
                file = self.merged / "tokenizer.json"
                try:
                    return pre_tokenizer(json.loads(file.read_text(encoding="utf-8")))
                except NeedsLlamaCppError:
                    raise unknown from None

        # Some classes add to what the base class finds. The process is the converter's own.
        llama.ModelBase.index_tensors = index_tensors
        return type(
            known.__name__,
            (known,),
            {
                "model_arch": known.model_arch,
                "modify_tensors": modify_tensors,
                "get_vocab_base_pre": get_vocab_base_pre,
            },
        )

    def _tensor(self, name: str, info: Any) -> Tensor:
        shape = tuple(int(size) for size in info.shape)
        origin = self._untouched.get(name)
        if origin is not None and origin.shape == shape:
            return replace(origin, name=name)
        tree = info.tensor

        def value_of(*, before: bool) -> Callable[[], np.ndarray]:
            def load() -> np.ndarray:
                with cannot_stream(self._architecture):
                    values = np.asarray(self._leaves.value(tree, before=before))
                    if values.shape != shape or values.dtype != np.float32:
                        raise ValueError(f"{name} is {values.dtype} {values.shape}, not {shape}")
                return values

            return load

        changed = self._leaves.any_changed(tree)
        base = value_of(before=True) if changed else None
        return Tensor(name, shape, value_of(before=False), base)


def _always(value: object) -> Callable[[], object]:
    return lambda: value


def _nothing(*_args: object, **_kwargs: object) -> None:
    pass
