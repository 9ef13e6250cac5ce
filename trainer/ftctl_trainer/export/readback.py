"""
Every tensor of a GGUF, dequantized and compared with what was merged, block by block.

Where the bounds come from. A quantizer without an importance matrix rounds each value of a block
to a grid; with M the largest absolute value of the block and R its range (largest - smallest):

- q8_0 has the step M / 127: no error above half a step. q4_1 and q5_1 have the step R / 15 and
  R / 31: the same. Their minimum and step are stored as float16, which adds 2^-11 of each.
- q4_0 and q5_0 put M itself at -8 or -16, so the other end is one step short: a value there may
  be off by a whole step, M / 8 or M / 16.
- The k and iq4 types choose scales by least squares, within super-blocks whose scales are
  themselves rounded; single values may be off by more, the root mean square over a block of 256
  may not: n bits over [-M, M] have the step 2M / (2^n - 1), and even every value off by half of
  that gives M / (2^n - 1). iq4's grid is uneven: its widest gap is 24 of 254, hence M * 12 / 127.
- Types of two or three bits that llama-quantize alone makes have codebooks: half of M.
- f16 and bf16 are off by half of their last digit, 2^-11 and 2^-8 of a value; f32 by no more than
  the order of a sum changes, 2^-20 of the tensor's largest value.

Where rounding.py goes beyond the nearest step, the bounds of the first two lines double.

A float16 below 2^-14 loses digits: its absolute error is 2^-25, times the largest multiple of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFValueType as Value
from numpy.typing import NDArray

from ftctl.errors import VerificationError
from ftctl_trainer.export.blocks import Block, blocks, side_by_side
from ftctl_trainer.export.gguf_model import without_ones
from ftctl_trainer.export.importance import Importance
from ftctl_trainer.export.rounding import has_grid, loses_update, weighs
from ftctl_trainer.export.tensors import Array, Tensor

_HALF = 2.0**-11
_SUBNORMAL = 2.0**-25
# Largest absolute error: share of M, share of R.
_STEPS = {
    Kind.Q8_0: (0.5 / 127, 0.0),
    Kind.Q4_0: (1 / 8, 0.0),
    Kind.Q5_0: (1 / 16, 0.0),
    Kind.Q4_1: (0.0, 0.5 / 15),
    Kind.Q5_1: (0.0, 0.5 / 31),
}
# Largest root mean square over a super-block, as a share of M.
_ROOT_MEAN_SQUARES = {
    Kind.Q2_K: 1 / 3,
    Kind.Q3_K: 1 / 7,
    Kind.Q4_K: 1 / 15,
    Kind.Q5_K: 1 / 31,
    Kind.Q6_K: 1 / 63,
    Kind.IQ4_NL: 12 / 127,
    Kind.IQ4_XS: 12 / 127,
}
# Columns that were weighed leave the others more: single values may be off by more than a step.
_WEIGHED = {
    **_ROOT_MEAN_SQUARES,
    Kind.Q4_0: 1 / 15,
    Kind.Q4_1: 1 / 15,
    Kind.Q5_0: 1 / 31,
    Kind.Q5_1: 1 / 31,
}
_CODEBOOK = 1 / 2
_FLOATS = {Kind.F16: 2.0**-11, Kind.BF16: 2.0**-8}
_ORDER_OF_A_SUM = 2.0**-20
_SUPER_BLOCK = 256
# So many rows have whole super-blocks, as each has whole blocks of 32.
_WHOLE_ROWS = 8
_CACHED = 2**16
# Of a string in a GGUF, and of a list of them.
_LENGTH = struct.Struct("<Q")


def read_back(
    files: Iterable[Sequence[Path]],
    tensors: list[Tensor],
    threads: int,
    importance: Importance | None = None,
) -> int:
    """
    Compare GGUFs with the tensors they were made from; return how many tensors they have in all.

    Each tensor is loaded once, and compared by a thread while the next is loaded. Columns may have
    been weighed by their importance.

    Args:
        files: each as its parts, which are one file or several.

    Raises:
        VerificationError: a tensor is missing or superfluous, has another shape, or a block of it
            is off by more than its type allows.
    """
    stored = {parts[0]: _stored(parts, tensors) for parts in files}

    def loaded() -> Iterator[tuple[tuple[Tensor, Block], int]]:
        for tensor in tensors:
            kinds = {Kind(found[tensor.name].tensor_type) for found in stored.values()}
            for block in blocks(tensor, with_base=any(has_grid(kind) for kind in kinds)):
                yield (tensor, block), block.nbytes

    def check(of: tuple[Tensor, Block]) -> None:
        tensor, block = of
        weighed = importance is not None and importance.of(tensor) is not None
        for file, found in stored.items():
            _check_block(file, found[tensor.name], block, weighed=weighed)

    side_by_side(check, loaded(), threads)
    return len(stored) * len(tensors)


def _stored(parts: Sequence[Path], tensors: list[Tensor]) -> dict[str, gguf.ReaderTensor]:
    """A file's tensors by name, which have the names and shapes that they must have."""
    file = parts[0]
    found = {tensor.name: tensor for part in parts for tensor in _Reader(part).tensors}
    if missing := {tensor.name for tensor in tensors} ^ set(found):
        raise VerificationError(
            f"{sorted(missing)[0]} stands in only one of the file and the model", where=str(file)
        )
    for tensor in tensors:
        shape = tuple(int(size) for size in reversed(found[tensor.name].shape))
        if without_ones(shape) != without_ones(tensor.shape):
            raise VerificationError(
                f"{tensor.name} is {list(shape)} instead of {list(tensor.shape)}", where=str(file)
            )
    return found


def _check_block(file: Path, stored: gguf.ReaderTensor, block: Block, *, weighed: bool) -> None:
    kind = Kind(stored.tensor_type)
    weighed = weighed and weighs(kind)
    rounds_further = not weighed and loses_update(block.values, block.base_if_lost(kind), kind)
    rows = stored.data.reshape(-1, stored.data.shape[-1])
    rows = rows[block.first_row : block.first_row + len(block.values)]
    for part in parts_of_rows(block.values.shape, kind):
        worst, number = worst_block(
            gguf.dequantize(rows[part], kind).reshape(-1),
            block.values[part].reshape(-1),
            kind,
            rounds_further=rounds_further,
            weighed=weighed,
        )
        if not worst <= 1:
            size = block_size(kind, block.values.size, weighed=weighed)
            number += (block.first_row + part.start) * block.values.shape[1] // size
            raise VerificationError(
                f"{stored.name} ({kind.name}) is not what was merged: block {number} is off by "
                f"{worst:.3g} times what {kind.name} allows",
                where=file.name,
                hint="The file is damaged or was written wrongly; nothing was published.",
            )


def parts_of_rows(shape: tuple[int, ...], kind: Kind) -> Iterator[slice]:
    """Rows that are compared together: few enough for the processor's cache, whole super-blocks."""
    rows, columns = shape
    few = max(1, _CACHED // columns // _WHOLE_ROWS) * _WHOLE_ROWS
    # What is allowed of F32 depends on all values.
    at_once = rows if kind == Kind.F32 or rows * columns % _SUPER_BLOCK else few
    for first in range(0, rows, at_once):
        yield slice(first, min(first + at_once, rows))


class _Reader(gguf.GGUFReader):  # type: ignore[misc]
    """
    Reads headers in a hundredth of the time.

    The package cuts every token of the vocabulary out of a numpy.memmap, which takes longer than to
    compare a small model. Lists are stepped over here: their fields have one part, the
    bytes as they stand.
    """

    @property
    def data(self) -> NDArray[np.uint8]:
        """The whole file, still only mapped into memory."""
        return self._data

    @data.setter
    def data(self, mapped: NDArray[np.uint8]) -> None:
        self._data = np.asarray(mapped)

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
        if raw_type != Value.ARRAY:
            return super()._get_field_parts(orig_offs, raw_type)
        kind = Value(int(self._get(orig_offs, np.uint32)[0]))
        end = self._end_of_list(orig_offs + 4, self.gguf_scalar_to_np.get(kind))
        return end - orig_offs, [self.data[orig_offs:end]], [], [Value.ARRAY, kind]

    def _end_of_list(self, begin: int, scalar: Any) -> int:
        data = self.data.data
        (count,) = _LENGTH.unpack_from(data, begin)
        end = begin + _LENGTH.size
        if scalar is not None:
            return int(end + count * np.dtype(scalar).itemsize)
        for _ in range(count):
            end += _LENGTH.size + _LENGTH.unpack_from(data, end)[0]
        return int(end)


def worst_block(
    values: Array,
    wanted: Array,
    kind: Kind,
    *,
    rounds_further: bool = False,
    weighed: bool = False,
) -> tuple[float, int]:
    """
    The largest error of a block as a share of what `kind` allows, and the number of that block.

    Args:
        values: dequantized, flat.
        wanted: what was quantized, flat.
        weighed: whether columns were weighed by their importance.
        rounds_further: whether it was rounded to keep an update, so that a whole step is allowed.
    """
    if kind == Kind.F32:
        allowed = np.full_like(wanted, np.abs(wanted).max() * _ORDER_OF_A_SUM)
        error = np.abs(values - wanted)
    elif kind in _FLOATS:
        tiny = _SUBNORMAL if kind == Kind.F16 else 0.0
        allowed = np.asarray(np.abs(wanted) * _FLOATS[kind] + tiny, np.float32)
        error = np.abs(values - wanted)
    else:
        size = block_size(kind, wanted.size, weighed=weighed)
        # [size, blocks]: numpy is many times faster along the first axis than along a short last.
        blocks = np.ascontiguousarray(wanted.reshape(-1, size).T)
        off = np.array(values.reshape(-1, size).T, order="C")
        off -= blocks
        if kind in _STEPS and not weighed:
            steps = 2 if rounds_further else 1
            allowed = _largest_error(blocks, *(steps * share for share in _STEPS[kind]))
            error = np.abs(off, out=off).max(axis=0)
        else:
            limit = (_WEIGHED if weighed else _ROOT_MEAN_SQUARES).get(kind, _CODEBOOK)
            allowed = np.abs(blocks).max(axis=0) * limit + _SUPER_BLOCK * _SUBNORMAL
            error = np.sqrt(np.square(off, out=off).mean(axis=0))
    # Where nothing is allowed, any error is infinitely too much.
    share = np.divide(error, allowed, out=np.full_like(error, np.inf), where=allowed > 0)
    excess = np.where(error == 0, 0.0, np.nan_to_num(share, nan=np.inf, posinf=np.inf))
    worst = int(excess.argmax())
    return float(excess[worst]), worst


def block_size(kind: Kind, values: int, *, weighed: bool = False) -> int:
    """How many values are judged together."""
    if (kind in _STEPS and not weighed) or kind == Kind.F32 or kind in _FLOATS:
        return int(gguf.GGML_QUANT_SIZES[kind][0])
    return _SUPER_BLOCK if values % _SUPER_BLOCK == 0 else 32


def _largest_error(blocks: Array, of_largest: float, of_range: float) -> Array:
    high, low = blocks.max(axis=0), blocks.min(axis=0)
    largest, span = np.maximum(high, -low), high - low
    rounding = _HALF * (largest + span) + _SUBNORMAL * 256
    return np.asarray(largest * of_largest + span * of_range + rounding, np.float32)
