"""What the export can do: known before a run is made, and used when it is exported."""

from __future__ import annotations

import os
from pathlib import Path

from ftctl.contract.spec import PathsConfig

# Of config.json's `architectures`, and of a GGUF's `general.architecture`.
BUILT_IN_ARCHITECTURES = frozenset({"LlamaForCausalLM", "MistralForCausalLM"})
BUILT_IN_GGUF_ARCHITECTURES = frozenset({"llama"})
_FLOATS = ("f32", "f16", "bf16")
_BLOCKS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "iq4_xs")
_SUPER_BLOCKS = (
    "q2_k",
    "q3_k_s",
    "q3_k_m",
    "q3_k_l",
    "q4_k_s",
    "q4_k_m",
    "q5_k_s",
    "q5_k_m",
    "q6_k",
)
BUILT_IN_TYPES = frozenset((*_FLOATS, *_BLOCKS, *_SUPER_BLOCKS))
WITH_LLAMA_CPP = (
    "Set paths.llama_cpp_dir to llama.cpp's sources, with llama-quantize built in "
    "paths.quantized_path below it."
)


WITH_IMATRIX = (
    "Set paths.llama_cpp_dir to llama.cpp's sources, with llama-quantize and llama-imatrix built "
    "beside each other."
)


WITH_LORA = (
    "Set paths.llama_cpp_dir to llama.cpp's sources, with convert_lora_to_gguf.py in them and "
    "llama-quantize built; the convert image has all of it."
)


def lora_tool(converter: Path) -> Path:
    """convert_lora_to_gguf.py, where it is: beside llama.cpp's other converter."""
    return converter.with_name("convert_lora_to_gguf.py")


def imatrix_tool(quantizer: Path) -> Path:
    """llama-imatrix, where it is: beside llama-quantize."""
    return quantizer.with_name("llama-imatrix")


def llama_cpp_tools(paths: PathsConfig) -> tuple[Path, Path] | None:
    """llama.cpp's converter and quantizer, where paths.* lead to both: then all can be exported."""
    folder = Path(paths.llama_cpp_dir).expanduser()
    converter, quantizer = folder / "convert_hf_to_gguf.py", folder / paths.quantized_path
    # os.path: a folder of another machine may be one that we must not look into here.
    there = os.path.isfile(converter) and os.path.isfile(quantizer)
    return (converter, quantizer) if there else None
