"""
Rounding that keeps a fine-tune of a base that lies on the grid of the type itself.

A base that was read from a quantized file has only values of that file's grid. An adapter moves
them by a few thousandths of a step, and rounding to nearest moves every one of them back: the
adapter is gone. (Measured on a 135M model from a Q4_1 file, exported to q4_1: the file is 2.78
nats a token from the tuned model, which is 3.19 from its base.) Rounding up with a probability
equal to the fraction is right on average, so what all weights of a row do together survives
(0.025 nats). Weights that lie anywhere between grid points lose by it, and are left to ggml.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from ftctl_trainer.export.tensors import Array

# Mean square distance to the grid, in steps, of values that lie anywhere.
_ANYWHERE = 1 / 12
_CLINGS = _ANYWHERE / 4
# Of a step: what arithmetic in float32 leaves of a value on the grid.
_NOISE = 1e-4


@dataclass(frozen=True)
class _Grid:
    """A block's values are offset + step * code, lowest <= code <= highest."""

    offset: Array
    step: Array
    lowest: int
    highest: int
    ends: tuple[tuple[Array, Array | int], ...]
    """The values that ggml finds the grid by, with their codes: these must stay."""


def clings(values: Array, kind: Kind) -> bool:
    """Whether a tensor lies near the grid that `kind` would give it, and not just anywhere."""
    found = _grid(values, kind)
    return found is not None and _near(_codes(*found))


def dithered(values: Array, kind: Kind, name: str) -> Array:
    """
    Move values that cling to `kind`'s grid onto it, up or down by chance; others as they are.

    The chance is drawn from the tensor's name: the same tensor gives the same values every time.

    Returns:
        An array of the same shape; ggml's quantizer finds the same grid in it.
    """
    found = _grid(values, kind)
    if found is None:
        return values
    blocks, grid = found
    codes = _codes(blocks, grid)
    if not _near(codes):
        return values
    chance = np.random.default_rng(zlib.crc32(name.encode())).random(blocks.shape, np.float32)
    codes = np.floor(codes + chance * (1 - 2 * _NOISE) + _NOISE)
    codes = np.clip(codes, grid.lowest, grid.highest)
    for value, code in grid.ends:
        codes = np.where(blocks == value, code, codes)
    return np.asarray(grid.offset + grid.step * codes, np.float32).reshape(values.shape)


def _codes(blocks: Array, grid: _Grid) -> Array:
    """Places on the grid, in steps; whole numbers are values of the type."""
    return (blocks - grid.offset) / grid.step


def _near(codes: Array) -> bool:
    return bool(np.square(codes - np.round(codes)).mean() < _CLINGS)


def _grid(values: Array, kind: Kind) -> tuple[Array, _Grid] | None:
    """The grid of each block as ggml's quantize_row_*_ref finds it; None for other types."""
    if kind not in (Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0):
        return None
    blocks = values.reshape(-1, gguf.GGML_QUANT_SIZES[kind][0])
    if kind in (Kind.Q4_1, Kind.Q5_1):
        levels = 15 if kind == Kind.Q4_1 else 31
        low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
        ends = ((low, 0), (high, levels))
        return blocks, _Grid(_half(low), _step((high - low) / np.float32(levels)), 0, levels, ends)
    zero = np.zeros((len(blocks), 1), np.float32)
    at = np.abs(blocks).argmax(axis=1)[:, None]
    largest: Array = np.take_along_axis(blocks, at, axis=1)
    if kind == Kind.Q8_0:
        code = np.sign(largest) * np.float32(127)
        step = _step(np.abs(largest) / np.float32(127))
        return blocks, _Grid(zero, step, -127, 127, ((largest, code),))
    half = 8 if kind == Kind.Q4_0 else 16
    step = _step(largest / np.float32(-half))
    return blocks, _Grid(zero, step, -half, half - 1, ((largest, -half),))


def _half(values: NDArray[np.floating[Any]]) -> Array:
    return values.astype(np.float16).astype(np.float32)


def _step(values: NDArray[np.floating[Any]]) -> Array:
    step = _half(values)
    return np.asarray(np.where(step == 0, np.float32(1), step))
