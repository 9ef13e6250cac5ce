"""Which rows share a sequence: the command line counts steps by it, the trainer trains by it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from random import Random


def pack(lengths: Sequence[int], capacity: int, seed: int) -> list[list[int]]:
    """
    Put rows into as few sequences as best-fit decreasing finds; return the rows of each.

    The longest row comes first, each goes into the fullest sequence that has room for it. Rows of
    one length are taken in an order drawn from `seed`. Rows in a sequence, and sequences by their
    first row, are in the order of the data.

    Args:
        lengths: tokens of every row; a longer one counts as `capacity`.
        capacity: tokens a sequence holds.
    """
    order = list(range(len(lengths)))
    Random(seed).shuffle(order)
    order.sort(key=lambda row: -min(lengths[row], capacity))
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # free tokens and number of every bin that is not full
    for row in order:
        length = min(lengths[row], capacity)
        place = bisect_left(rooms, (length, 0))
        if place < len(rooms):
            room, number = rooms.pop(place)
        else:
            room, number = capacity, len(bins)
            bins.append([])
        bins[number].append(row)
        if room > length:
            insort(rooms, (room - length, number))
    return sorted(sorted(rows) for rows in bins)
