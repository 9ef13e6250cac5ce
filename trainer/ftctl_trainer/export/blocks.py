"""A tensor read in blocks of rows, so that memory is bounded by a block where it can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ftctl_trainer.export.tensors import Array, Tensor, row_blocks

T = TypeVar("T")

# Of those that a tensor is merged in: 64 MB of float32, enough to keep all threads busy.
_BLOCKS_AT_ONCE = 16
# Of what several threads work on, copies of their own not counted.
_AT_ONCE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Block:
    """Rows of a tensor: all its axes but the last are one."""

    first_row: int
    values: Array
    base: Array | None
    """The same before the adapter changed them; None where it did not, or where nobody asked."""

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.values.nbytes + (0 if self.base is None else self.base.nbytes)


def blocks(tensor: Tensor, *, with_base: bool) -> Iterator[Block]:
    """
    Read a tensor: its parts if it is a stack, rows where it can be cut, else the whole.

    Writing and reading back take the same blocks, since rounding.py looks at each by itself.
    """
    first = 0
    for part in tensor.parts or (tensor,):
        for values, base in _pieces(part, with_base=with_base):
            yield Block(first, values, base)
            first += len(values)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


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


def _pieces(tensor: Tensor, *, with_base: bool) -> Iterator[tuple[Array, Array | None]]:
    changed = with_base and tensor.base is not None
    if tensor.rows is None or len(tensor.shape) < 2 or (changed and tensor.base_rows is None):
        yield _flat(tensor.load()), _flat(tensor.base()) if changed and tensor.base else None
        return
    cuts = list(row_blocks(tensor.shape))
    for number in range(0, len(cuts), _BLOCKS_AT_ONCE):
        begin, end = cuts[number].start, cuts[number : number + _BLOCKS_AT_ONCE][-1].stop
        base = tensor.base_rows(begin, end) if changed and tensor.base_rows else None
        yield _flat(tensor.rows(begin, end)), None if base is None else _flat(base)


def _flat(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])
