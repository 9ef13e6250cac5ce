"""Holds out a share of the training rows where no held-out rows are named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ftctl.data.example import Example
from ftctl.errors import DataError


def hold_out(
    rows: Sequence[Example], fraction: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """
    Split rows into those to train on and a share held out, at least one row of each.

    A row's place depends on the seed and its id alone: a row added later moves few others.

    Raises:
        DataError: there are fewer than two rows.
    """
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} row cannot be split",
            where="dataset.eval_fraction",
            hint="Add rows, name dataset.eval, or set dataset.eval_fraction=0.",
        )
    count = min(max(1, round(len(rows) * fraction)), len(rows) - 1)
    order = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode()).digest())
    held = {row.id for row in order[:count]}
    train = [row for row in rows if row.id not in held]
    return train, [row for row in rows if row.id in held]
