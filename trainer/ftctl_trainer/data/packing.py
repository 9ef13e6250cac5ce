"""Several rows in one sequence: each keeps its own positions, and sees no other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ftctl.contract.packing import pack
from ftctl_trainer.data.chat import IGNORED

_log = logging.getLogger(__name__)

Row = Mapping[str, Sequence[int]]


def packed(rows: Sequence[Row], capacity: int, seed: int) -> list[dict[str, list[int]]]:
    """
    Return sequences of at most `capacity` tokens, with position_ids that restart at every row.

    By these the attention tells the rows apart. A row's first token carries no loss: the token
    before it is another row's.

    Args:
        rows: input_ids and labels, none longer than `capacity`.
        seed: decides between rows of one length.
    """
    lengths = [len(row["input_ids"]) for row in rows]
    bins = pack(lengths, capacity, seed)
    _log.info(
        "packing: %s rows in %s sequences of %s tokens, %.1f%% of them filled",
        f"{len(rows):,}",
        f"{len(bins):,}",
        f"{capacity:,}",
        100 * sum(lengths) / (len(bins) * capacity),
    )
    return [_joined([rows[number] for number in numbers]) for numbers in bins]


def lengths_within(sequence: Row) -> list[int]:
    """Tokens of every row in a sequence; one that is not packed is a row."""
    end = len(sequence["input_ids"])
    places = sequence.get("position_ids", (0,))
    starts = [number for number, place in enumerate(places) if place == 0]
    return [after - start for start, after in pairwise([*starts, end])]


def _joined(rows: Sequence[Row]) -> dict[str, list[int]]:
    return {
        "input_ids": [token for row in rows for token in row["input_ids"]],
        "labels": [label for row in rows for label in (IGNORED, *row["labels"][1:])],
        "position_ids": [position for row in rows for position in range(len(row["input_ids"]))],
    }
