"""The rows of a batch laid end to end: where each begins, and every token's place in its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

# From so many tokens on a row is long: attention takes it by itself. Measured on an H100, 32 heads
# of 128, forward and backward: rows of 8,192 tokens 12.6 ms by the kernel for rows of all lengths,
# 7.2 ms by the one for a single row; below this the launches of one row after the other cost more.
LONG = 2048


@dataclass(frozen=True)
class Span:
    """Neighbouring rows that attention takes together: several short ones, or one long one."""

    start: int
    end: int
    longest: int
    """Tokens of its longest row."""
    ends: Tensor | None
    """Where each of its rows ends, counted from `start`, a 0 before: int32; None of a long row."""


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
    return Documents(tuple(lengths), tuple(_spans(lengths, positions.device)), cos, sin)


def _spans(lengths: Sequence[int], device: torch.device) -> list[Span]:
    groups: list[list[int]] = []
    for length in lengths:
        if groups and length < LONG and groups[-1][0] < LONG:
            groups[-1].append(length)
        else:
            groups.append([length])
    spans, start = [], 0
    for group in groups:
        ends = None
        if group[0] < LONG:
            ends = torch.tensor([0, *accumulate(group)], dtype=torch.int32, device=device)
        spans.append(Span(start, start + sum(group), max(group), ends))
        start += sum(group)
    return spans
