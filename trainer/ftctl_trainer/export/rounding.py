"""
Rounding that keeps a fine-tune which is smaller than the steps of the type.

Rounding to nearest is blind to updates of less than half a step where the base lies on the grid
of the type itself, as one that was read from a quantized file does: it moves every value back, and
the adapter is gone. (Measured on a 135M model from a Q4_1 file, exported to q4_1: to nearest, the
file is 2.69 nats a token from the tuned model, which is 3.06 from its base.)

Here some values go one step further than the nearest, in each row just as many as bring the update
back to its length: the rounding error then has no part along the update. Which ones is drawn, with
the larger updates before the smaller. To take the largest alone has the least error besides, and
does harm where updates are small against a step: a row then has a few whole steps to make, all rows
make them in the columns where the update is largest, and what the columns' inputs have in common
adds up. (The same model tuned for 12 steps, updates of 0.02 steps: 0.8 to 3.2 nats a token by the
largest alone, 0.03 to 0.05 so.) The more steps a row has to make, the less is left to the draw.
Where values lie anywhere between grid points nearest does this by itself, and they are left to
ggml.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from ftctl_trainer.export.tensors import Array

_GRIDS = frozenset({Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0})
# Share of a tensor's update that rounding to nearest may lose before anything is done: of single
# rows it may be that much by accident.
_LOSS = 0.1
# A row's limit is looked for between 10^-3 and 10^3 updates, to a thousandth of it.
_DECADES, _HALVINGS = 3.0, 14


@dataclass(frozen=True)
class _Grid:
    """A block's values are offset + step * code, lowest <= code <= highest."""

    offset: Array
    step: Array
    lowest: int
    highest: int
    ends: tuple[tuple[Array, Array | int], ...]
    """The values that ggml finds the grid by, with their codes: these must stay."""


def keep_update(values: Array, base: Array | None, kind: Kind) -> Array:
    """
    Move values that rounding to nearest would set back to the grid points that keep their update.

    Args:
        values: what is quantized, [rows, columns].
        base: the same before the update; None where there was none.
    Returns:
        An array of the same shape; ggml's quantizer finds the same grid in it.
    """
    found = _Rounding.of(values, base, kind)
    return values if found is None else found.further(values)


def has_grid(kind: Kind) -> bool:
    """Whether a type is one that `keep_update` looks at: one whose blocks are plain grids."""
    return kind in _GRIDS


def weighs(kind: Kind) -> bool:
    """Whether ggml's quantizer heeds the columns' importance, and with it leaves the plain grid."""
    return kind not in (Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0)


def loses_update(values: Array, base: Array | None, kind: Kind) -> bool:
    """Whether `keep_update` has something to move; it then goes up to a whole step."""
    return _Rounding.of(values, base, kind) is not None


@dataclass(frozen=True)
class _Rounding:
    """Rounding to nearest that loses updates: all in steps of each block's grid."""

    blocks: Array
    grid: _Grid
    codes: Array
    update: Array
    weight: Array
    """Square of the step, a block."""
    lacking: Array
    """What each row's update lacks of its length squared, in the values' own unit."""

    @classmethod
    def of(cls, values: Array, base: Array | None, kind: Kind) -> _Rounding | None:
        """None where there is no update, no such grid, or nothing to mend."""
        found = None if base is None else _grid(values, kind)
        if base is None or found is None:
            return None
        blocks, grid = found
        codes = (blocks - grid.offset) / grid.step
        update = (values - base).reshape(blocks.shape) / grid.step
        weight = np.square(grid.step)
        error = _nearest(codes, grid) - codes
        rows = (values.shape[0], -1)
        kept = (weight * error * update).reshape(rows).sum(axis=1)
        length = (weight * np.square(update)).sum()
        if -kept.sum() <= _LOSS * length:
            return None
        return cls(blocks, grid, codes, update, weight, np.maximum(-kept, 0))

    def further(self, values: Array) -> Array:
        """The values on the grid, some one step further than the nearest."""
        nearest = _nearest(self.codes, self.grid)
        movable, order = _one_further(self, nearest)
        gain = np.where(movable, self.weight * np.abs(self.update), 0)
        rows = (values.shape[0], -1)
        limit = _limits(order.reshape(rows), gain.reshape(rows), self.lacking)
        moves = movable & (order.reshape(rows) <= limit[:, None]).reshape(movable.shape)
        codes = np.where(moves, nearest + np.sign(self.update), nearest)
        for value, code in self.grid.ends:
            codes = np.where(self.blocks == value, code, codes)
        moved = self.grid.offset + self.grid.step * codes
        return np.asarray(moved, np.float32).reshape(values.shape)


def _nearest(codes: Array, grid: _Grid) -> Array:
    return np.clip(np.round(codes), grid.lowest, grid.highest)


def _one_further(at: _Rounding, nearest: Array) -> tuple[NDArray[np.bool_], Array]:
    """
    Which values have a grid point beyond the nearest on their update's side, and are short of it;
    and how early each is to go there: its distance to the middle of the two, in updates, times
    what is drawn for it.
    """
    short = at.codes - nearest
    beyond = nearest + np.sign(at.update)
    movable = (np.sign(short) == np.sign(at.update)) & (at.update != 0)
    movable &= (beyond >= at.grid.lowest) & (beyond <= at.grid.highest)
    for value, _ in at.grid.ends:
        movable &= at.blocks != value
    order = np.full_like(at.codes, np.inf)
    np.divide(0.5 - np.abs(short), np.abs(at.update), out=order, where=movable)
    return movable, order * _drawn(at)


def _drawn(at: _Rounding) -> Array:
    """
    A factor for every value's place in the order: a number from 0 to 1, and the row's mean update.

    The numbers are hashes of the values and their places in the row (MurmurHash3's finalizer), so
    that a tensor's bytes depend neither on a seed nor on the blocks it is worked through in.
    """
    rows = (len(at.lacking), -1)
    bits = np.ascontiguousarray(at.blocks, np.float32).view(np.uint32).reshape(rows)
    bits = bits ^ (np.arange(bits.shape[1], dtype=np.uint32) * np.uint32(0x9E3779B9))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    draw = ((bits ^ (bits >> np.uint32(16))).astype(np.float32) + 0.5) / np.float32(2**32)
    mean = np.abs(at.update).reshape(rows).mean(axis=1, keepdims=True)
    return np.asarray((draw + mean).reshape(at.update.shape), np.float32)


def _limits(order: Array, gain: Array, lacking: Array) -> Array:
    """Of each row the limit to `order` up to which the gains make up for what is lacking."""
    low, high = np.full(len(order), -_DECADES), np.full(len(order), _DECADES)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = (gain * (order <= 10 ** middle[:, None])).sum(axis=1) >= lacking
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.asarray(np.where(lacking > 0, 10**high, -1))


def _grid(values: Array, kind: Kind) -> tuple[Array, _Grid] | None:
    """The grid of each block as ggml's quantize_row_*_ref finds it; None for other types."""
    if not has_grid(kind):
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
