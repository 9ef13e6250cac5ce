"""Rows in sequences: none lost, none cut, little room left, the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ftctl.contract.packing import pack
from ftctl_trainer.data.packing import packed


@given(
    st.lists(st.integers(1, 50), max_size=60),
    st.integers(50, 120),
    st.integers(0, 2**32 - 1),
)
def test_every_row_is_in_one_sequence_that_has_room_for_it(
    lengths: list[int], capacity: int, seed: int
) -> None:
    bins = pack(lengths, capacity, seed)
    assert sorted(row for rows in bins for row in rows) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in rows) <= capacity for rows in bins)
    assert bins == pack(lengths, capacity, seed)


def test_chats_fill_at_least_98_percent_of_their_sequences() -> None:
    """Lengths as of chats: most short, a few very long (log-normal, median 300 tokens)."""
    random = Random(0)
    lengths = [max(8, min(2048, round(random.lognormvariate(5.7, 0.8)))) for _ in range(3000)]
    bins = pack(lengths, 2048, 42)
    assert sum(lengths) / (2048 * len(bins)) > 0.98


def test_the_seed_decides_which_of_equal_rows_share_a_sequence() -> None:
    assert pack([50] * 6, 100, 1) != pack([50] * 6, 100, 3)


def test_positions_restart_and_a_first_token_is_nobodys_to_predict() -> None:
    assert packed([_row(5, 6, 7), _row(8, 9)], 8, 0) == [
        {
            "input_ids": [5, 6, 7, 8, 9],
            "labels": [-100, 6, 7, -100, 9],
            "position_ids": [0, 1, 2, 0, 1],
        }
    ]


def _row(*tokens: int) -> dict[str, Sequence[int]]:
    return {"input_ids": tokens, "labels": tokens}
