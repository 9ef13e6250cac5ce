"""A tensor read in blocks of rows, so that memory is bounded by a block where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ftctl_trainer.export.tensors import Array, Tensor

# 256 MB of float32.
_BLOCK_VALUES = 2**26


@dataclass(frozen=True)
class Block:
    """Rows of a tensor: all its axes but the last are one."""

    first_row: int
    values: Array
    base: Array | None
    """The same before the adapter changed them; None where it did not, or where nobody asked."""


def blocks(tensor: Tensor, *, with_base: bool) -> Iterator[Block]:
    """
    Read a tensor: its parts if it is a stack, else its rows if it is large, else the whole.

    Writing and reading back take the same blocks, since rounding.py looks at each by itself.
    """
    first = 0
    for part in tensor.parts or (tensor,):
        changed = with_base and part.base is not None
        if part.rows is not None and not changed:
            for values in _in_rows(part):
                yield Block(first, values, None)
                first += len(values)
            continue
        values = _flat(part.load())
        yield Block(first, values, _flat(part.base()) if changed and part.base else None)
        first += len(values)


def _in_rows(tensor: Tensor) -> Iterator[Array]:
    assert tensor.rows is not None
    size = int(np.prod(tensor.shape[1:], dtype=np.int64))
    step = max(1, _BLOCK_VALUES // max(1, size))
    for begin in range(0, tensor.shape[0], step):
        yield _flat(tensor.rows(begin, min(begin + step, tensor.shape[0])))


def _flat(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])
