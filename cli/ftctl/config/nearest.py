"""The valid name that a mistyped one probably means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None where nothing is close."""
    names = list(known)
    folded = {known_name.lower(): known_name for known_name in reversed(names)}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def nearest_key(key: str, known: Iterable[str]) -> str | None:
    """
    The known dotted key that `key` probably means.

    A key whose last part is right and whose section is wrong or missing is found as well.
    """
    keys = list(known)
    section, _, leaf = key.rpartition(".")
    leaves = [name for name in keys if name.rpartition(".")[2] == leaf]
    siblings = [name for name in keys if name.rpartition(".")[0] == section]
    return nearest(key, leaves) or _only(leaves) or nearest(key, siblings) or nearest(key, keys)


def _only(names: list[str]) -> str | None:
    return names[0] if len(names) == 1 else None
