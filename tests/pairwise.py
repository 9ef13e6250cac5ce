"""Combinations of choices, so few that every two choices still meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

Pair = tuple[tuple[str, str], tuple[str, str]]


def pairwise(choices: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """
    Combinations in which each two choices of different names stand together at least once.

    Greedy, always the same: each combination begins with the first pair that has not been seen,
    and takes of every other name the choice that adds most pairs.
    """
    names = list(choices)
    left = {
        ((one, first), (other, second))
        for one, other in combinations(names, 2)
        for first, second in product(choices[one], choices[other])
    }
    found = []
    while left:
        first_left: Pair = min(left, key=lambda pair: _place(pair, choices))
        row = dict(first_left)
        for name in names:
            if name not in row:
                row[name] = max(
                    choices[name],
                    key=lambda value: len(_pairs({**row, name: value}, names) & left),
                )
        left -= _pairs(row, names)
        found.append({name: row[name] for name in names})
    return found


def _pairs(row: Mapping[str, str], names: Sequence[str]) -> set[Pair]:
    chosen = [(name, row[name]) for name in names if name in row]
    return set(combinations(chosen, 2))


def _place(pair: Pair, choices: Mapping[str, Sequence[str]]) -> list[int]:
    names = list(choices)
    return [
        place for name, value in pair for place in (names.index(name), choices[name].index(value))
    ]
