"""The rows of a batch laid end to end: where each begins, and every token's place in its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

# From so many tokens on a row is long: attention takes it by itself. Measured on an H100, 32 heads
# of 128, forward and backward: rows of 8,192 tokens 12.6 ms by the kernel for rows of all lengths,
# 7.2 ms by the one for a single row. A row apart costs launches, and copies of its results.
LONG = 3072


@dataclass(frozen=True)
class Span:
    """Neighbouring rows that attention takes together: several short ones, or one long one."""

    start: int
    lengths: tuple[int, ...]
    _made: dict[object, Tensor] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Where its last row ends."""
        return self.start + sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return max(self.lengths)

    @property
    def is_long(self) -> bool:
        """Whether it is one long row."""
        return self.lengths[0] >= LONG

    def once(self, key: object, make: Callable[[], Tensor], device: torch.device) -> Tensor:
        """What `make` returns, on the device; made and sent for the first layer that asks."""
        if key not in self._made:
            self._made[key] = make().to(device, non_blocking=True)
        return self._made[key]


@dataclass(frozen=True)
class Documents:
    """Rows that do not see each other, T tokens in all."""

    lengths: tuple[int, ...]
    spans: tuple[Span, ...]
    cos: Tensor
    """Of every token's angles: float32, [T, D / 2]."""
    sin: Tensor


def documents(rotary: Any, positions: Tensor, lengths: Sequence[int]) -> Documents:
    """
    Prepare a batch for all layers.

    Args:
        rotary: the model's module that gives cosines and sines of positions.
        positions: of every token in its row, int64, [T].
        lengths: tokens of every row.
    """
    # The module answers in the dtype it is shown.
    shown = torch.empty(0, dtype=torch.float32, device=positions.device)
    cos, sin = (part[0].chunk(2, -1)[0].contiguous() for part in rotary(shown, positions[None]))
    return Documents(tuple(lengths), tuple(spans_of(lengths)), cos, sin)


def spans_of(lengths: Sequence[int]) -> list[Span]:
    """Group rows of these lengths, which lie end to end."""
    groups: list[list[int]] = []
    for length in lengths:
        if groups and length < LONG and groups[-1][0] < LONG:
            groups[-1].append(length)
        else:
            groups.append([length])
    starts = accumulate(map(sum, groups), initial=0)
    return [Span(start, tuple(group)) for start, group in zip(starts, groups, strict=False)]


def tiles_of(lengths: Sequence[int], size: int, *, ends_first: bool) -> Tensor:
    """
    Cut rows into tiles; those with the most work come first.

    Args:
        lengths: tokens of rows that lie one behind the other.
        size: tokens of a tile.
        ends_first: the tiles are of queries, of which the last of a row see most; else of keys.
    Returns:
        Start and end of the tile's row, and start of the tile: int32, [tiles, 3].
    """
    found, start = [], 0
    for length in lengths:
        found += [(start, start + length, begin) for begin in range(start, start + length, size)]
        start += length
    found.sort(key=lambda it: it[0] - it[2] if ends_first else it[2] - it[1])
    return torch.tensor(found, dtype=torch.int32)
