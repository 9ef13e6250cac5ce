"""A merged llama as GGUF, where llama.cpp's converter is not at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping

import gguf
from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export import llama_family
from ftctl_trainer.export.gguf_model import GgufModel
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.merge import EMBEDDING, merged_tensors
from ftctl_trainer.export.tensor_types import plan
from ftctl_trainer.export.vocabulary import add_vocabulary


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
    tensors = llama_family.gguf_tensors(merged, hyper)

    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.LLAMA])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(inputs.name)
    llama_family.add_hyperparameters(writer, hyper, vocabulary)
    add_vocabulary(writer, inputs.tokenizer, vocabulary)

    def plan_of(qtype: str) -> Mapping[str, Kind]:
        return plan(qtype, tensors, blocks=hyper.blocks, gqa=hyper.heads // hyper.kv_heads)

    return GgufModel(tensors, writer.kv_data[0], plan_of)
