"""Tells the writing system of a text: what languages a data set has, without a language model."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from ftctl.data.example import Example
from ftctl.data.parts import request_of

OTHER = "Other"
# A letter's Unicode name begins with its script; these are named otherwise.
_NAMES = {"Cjk": "Han", "Fullwidth": "Latin", "Halfwidth": "Katakana", "Modifier": OTHER}


def script_of(text: str) -> str:
    """The script of most letters: Latin, Cyrillic, Han, ...; Other where there are none."""
    counts = Counter(_script(char) for char in text if char.isalpha())
    if not counts:
        return OTHER
    most = max(counts.values())
    return min(name for name, count in counts.items() if count == most)


def by_script(examples: Iterable[Example]) -> Mapping[str, Sequence[int]]:
    """Positions of the rows by the script of their request; scripts in alphabetical order."""
    groups: dict[str, list[int]] = {}
    for position, example in enumerate(examples):
        groups.setdefault(script_of(request_of(example)), []).append(position)
    return dict(sorted(groups.items()))


@lru_cache(maxsize=4096)
def _script(char: str) -> str:
    word = unicodedata.name(char, OTHER).split(" ", 1)[0].capitalize()
    return _NAMES.get(word, word)
