"""How much each column of a matrix matters: llama.cpp's importance matrix over training texts."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.gguf_writer import GGUFValue

from ftctl.errors import RunFailedError
from ftctl_trainer.export.tensors import Array, Tensor
from ftctl_trainer.export.tools import Tools, run_tool

# Both names get into the files' metadata: of the scratch folder only these.
TEXTS, MATRIX = "training-rows.txt", "imatrix.gguf"
_TOKENS_A_CHUNK = 512
# What llama.cpp's own users take: more change little.
_MOST_CHUNKS = 128
# llama-imatrix wants two chunks. A token of text has 16 bytes at most.
_LEAST_BYTES = 2 * _TOKENS_A_CHUNK * 16
_MOST_BYTES = _MOST_CHUNKS * _TOKENS_A_CHUNK * 16
_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True)
class Importance:
    """Mean squares of what columns are multiplied with, [experts, columns] a tensor."""

    of_tensors: dict[str, Array]
    keys: dict[str, Any]
    """What llama-quantize writes into a file that was made with it."""

    def of(self, tensor: Tensor) -> Array | None:
        """
        The weights of a tensor's columns, or None where it was not seen.

        Raises:
            RunFailedError: it was computed for another shape.
        """
        found = self.of_tensors.get(tensor.name)
        if found is None:
            return None
        experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
        if found.size == experts * tensor.shape[-1]:
            return found.reshape(experts, tensor.shape[-1])
        if tensor.name == "token_embd.weight":  # of the output layer that shares it
            return None
        raise RunFailedError(
            f"the importance matrix has {found.size} values for {tensor.name} {list(tensor.shape)}"
        )


def compute_importance(
    tools: Tools, model: Path, scratch: Path, threads: int, stop: threading.Event
) -> None:
    """
    Run llama-imatrix over the texts in the scratch folder; leaves the matrix there.

    Args:
        model: a GGUF of a float type.
    Raises:
        RunFailedError: it failed.
        StoppedError: `stop` was set.
    """
    # Special tokens are spelt out in them.
    run_tool(
        [str(tools.imatrix.absolute()), "-m", str(model.absolute()), "-f", TEXTS, "-o", MATRIX,
         "-c", str(_TOKENS_A_CHUNK), "--chunks", str(_MOST_CHUNKS), "--parse-special", "--no-ppl",
         "-t", str(threads)],
        stop,
        folder=scratch,
    )  # fmt: skip


def read_importance(scratch: Path) -> Importance | None:
    """
    Read the matrix that a scratch folder has, as llama-quantize does (quantize.cpp: load_imatrix).
    """
    file = scratch / MATRIX
    if not file.exists():
        return None
    reader = gguf.GGUFReader(file)
    stored = {tensor.name: np.array(tensor.data, np.float32) for tensor in reader.tensors}
    found = {}
    for name, sums in stored.items():
        if name.endswith(_SUMS):
            tensor = name.removesuffix(_SUMS)
            found[tensor] = _means(sums, stored[tensor + _COUNTS])
    chunks = int(reader.fields["imatrix.chunk_count"].contents())
    return Importance(
        found,
        {
            "quantize.imatrix.file": GGUFValue(MATRIX, gguf.GGUFValueType.STRING),
            "quantize.imatrix.dataset": GGUFValue(TEXTS, gguf.GGUFValueType.STRING),
            "quantize.imatrix.entries_count": GGUFValue(len(found), gguf.GGUFValueType.UINT32),
            "quantize.imatrix.chunks_count": GGUFValue(chunks, gguf.GGUFValueType.UINT32),
        },
    )


def has_texts(scratch: Path) -> bool:
    """Whether a scratch folder has texts to weigh columns by."""
    return (scratch / TEXTS).exists()


def write_texts(texts: Iterable[str], scratch: Path) -> None:
    """Write the texts of training rows, again and again until they are enough."""
    whole = b""
    for text in texts:
        whole += text.encode() + b"\n"
        if len(whole) >= _MOST_BYTES:
            break
    times = max(1, -(-_LEAST_BYTES // len(whole)))
    (scratch / TEXTS).write_bytes(whole * times)


def _means(sums: Array, counts: Array) -> Array:
    """An expert that no token went to has ones."""
    counts = np.rint(counts).astype(np.float32).reshape(-1, 1)
    rows = sums.reshape(len(counts), -1)
    return np.divide(rows, counts, out=np.ones_like(rows), where=counts > 0)
