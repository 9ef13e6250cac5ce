"""Which type each tensor gets under a quantization: llama-quantize says so (--dry-run)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gguf import GGMLQuantizationType as Kind

from ftctl.errors import RunFailedError
from ftctl_trainer.export.gguf_file import GgufFile, Metadata
from ftctl_trainer.export.gguf_model import GgufModel
from ftctl_trainer.export.importance import MATRIX
from ftctl_trainer.export.tools import run_tool

# [   3/  20] blk.0.attn_k.weight - [  64, 32, 1, 1], type = f32, size = .. MiB -> .. MiB (q4_K)
_LINE = re.compile(
    r"^\[ *\d+/ *\d+\] (?P<name>\S+) +- \[.*\], type = +(?P<now>\w+), size = [^(\n]*"
    r"(\((?P<then>\w+)\))?$",
    re.MULTILINE,
)


def planned_kinds(
    model: GgufModel, qtype: str, quantizer: Path, scratch: Path
) -> Mapping[str, Kind]:
    """
    Ask llama-quantize for its plan, over a file of header and holes.

    Raises:
        RunFailedError: it fails, or says something else than known here.
    """
    file = scratch / "plan.gguf"
    floats = dict.fromkeys((tensor.name for tensor in model.tensors), Kind.F32)
    try:
        GgufFile(file, _for_a_plan(model.header("f32")), model.tensors, floats).close()
        weighted = ["--imatrix", MATRIX] if model.importance else []
        said = run_tool(
            [str(quantizer.absolute()), "--dry-run", *weighted, file.name, qtype.upper()],
            folder=scratch,
        )
    finally:
        file.unlink(missing_ok=True)
    return parse_plan(said, set(floats), quantizer)


def _for_a_plan(header: Metadata) -> Metadata:
    """A header without the vocabulary, whose hundred thousand words take longer than the plan."""
    return {key: value for key, value in header.items() if not key.startswith("tokenizer.")}


def parse_plan(said: str, names: set[str], quantizer: Path) -> dict[str, Kind]:
    """
    Read the types out of what llama-quantize --dry-run says.

    Raises:
        RunFailedError: not every tensor is there, or a type is unknown.
    """
    kinds = {
        match["name"]: Kind.__members__.get((match["then"] or match["now"]).upper())
        for match in _LINE.finditer(said)
    }
    planned = {name: kind for name, kind in kinds.items() if kind is not None}
    if set(planned) != names:
        missing = sorted(names ^ set(planned))
        raise RunFailedError(
            f"llama-quantize --dry-run says nothing that is understood of {missing[0]}",
            where=str(quantizer),
            hint="Use the version of llama.cpp that the convert image has.",
        )
    return planned
