"""A tensor read in blocks of rows, so that memory is bounded by a block where it can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export.rounding import loses_update
from ftctl_trainer.export.tensors import Array, Rows, Tensor, row_blocks

T = TypeVar("T")

# Of those that a tensor is merged in: 16 MB of float32.
_BLOCKS_AT_ONCE = 4
# Values of a base that are looked at first.
_LOOKED_AT = 2**18
# Of what several threads work on, copies of their own not counted.
_AT_ONCE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Base:
    """Rows before an adapter changed them: the first, and all of them when they are asked for."""

    first: Array
    read: Callable[[], Array]


@dataclass(frozen=True)
class Block:
    """Rows of a tensor: all its axes but the last are one."""

    first_row: int
    values: Array
    base: Base | None
    """The same before the adapter changed them; None where it did not, or where nobody asked."""

    @property
    def nbytes(self) -> int:
        """Of both, whether the base is read to its end or not."""
        return self.values.nbytes * (1 if self.base is None else 2)

    def base_if_lost(self, kind: Kind) -> Array | None:
        """
        All of the base, if rounding to a type may lose the update.

        Of a base on the type's grid nearly all of the update is lost, of any other next to none:
        that shows in the first rows, but for updates below a hundredth of a step, where the
        rounding of so few may look like a loss. Then all are read, and looked at.
        """
        if self.base is None:
            return None
        few = self.base.first
        return self.base.read() if loses_update(self.values[: len(few)], few, kind) else None


def blocks(tensor: Tensor, *, with_base: bool) -> Iterator[Block]:
    """
    Read a tensor: its parts if it is a stack, rows where it can be cut, else the whole.

    Writing and reading back take the same blocks, since rounding.py looks at each by itself.
    """
    first = 0
    for part in tensor.parts or (tensor,):
        for base, values in _pieces(part, with_base=with_base):
            yield Block(first, values, base)
            first += len(values)


def side_by_side(
    function: Callable[[T], object], items: Iterable[tuple[T, int]], threads: int
) -> None:
    """
    Call a function with every item, in threads; the items are made here, one after the other.

    Args:
        items: each with its bytes, which bound how many are worked on at once.
    Raises:
        Exception: what the function raised for the first item that it failed for.
    """
    running: deque[tuple[Future[object], int]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item, size in items:
            while running and sum(taken for _, taken in running) + size > _AT_ONCE_BYTES:
                running.popleft()[0].result()
            running.append((pool.submit(function, item), size))
        for future, _ in running:
            future.result()


def _pieces(tensor: Tensor, *, with_base: bool) -> Iterator[tuple[Base | None, Array]]:
    changed = with_base and tensor.base is not None
    if tensor.rows is None or len(tensor.shape) < 2 or (changed and tensor.base_rows is None):
        base = _whole_base(_flat(tensor.base())) if changed and tensor.base else None
        yield base, _flat(tensor.load())
        return
    cuts, row_values = list(row_blocks(tensor.shape)), tensor.size // tensor.shape[0]
    for number in range(0, len(cuts), _BLOCKS_AT_ONCE):
        begin, end = cuts[number].start, cuts[number : number + _BLOCKS_AT_ONCE][-1].stop
        rows = tensor.base_rows if changed else None
        base = _base(rows, begin, end, row_values) if rows else None
        yield base, _flat(tensor.rows(begin, end))


def _base(rows: Rows, begin: int, end: int, row_values: int) -> Base:
    last = begin + max(1, _LOOKED_AT // row_values)
    if last >= end:
        return _whole_base(_flat(rows(begin, end)))
    return Base(_flat(rows(begin, last)), cache(lambda: _flat(rows(begin, end))))


def _whole_base(values: Array) -> Base:
    return Base(values, lambda: values)


def _flat(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])
