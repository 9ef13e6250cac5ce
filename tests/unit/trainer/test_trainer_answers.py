"""The last answer of a conversation is what is judged; all before it is the prompt."""

from __future__ import annotations

import pytest

from ftctl_trainer.data.answers import answer_start, cut, last_answer
from ftctl_trainer.data.chat import IGNORED, Encoded

TWO_TURNS = Encoded(
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    [IGNORED, IGNORED, 3, 4, IGNORED, IGNORED, 7, 8, IGNORED],
)


def test_an_answer_before_the_last_is_part_of_the_prompt() -> None:
    found = last_answer(TWO_TURNS)

    assert found.input_ids == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found.labels == [IGNORED] * 6 + [7, 8]
    assert answer_start(found) == 6


def test_what_comes_after_the_answer_is_left_out() -> None:
    assert last_answer(Encoded([1, 2, 3], [IGNORED, 2, IGNORED])).input_ids == [1, 2]


@pytest.mark.parametrize(("length", "start"), [(7, 6), (6, 6), (3, 3)])
def test_a_cut_answer_starts_where_it_did_or_is_gone(length: int, start: int) -> None:
    found = cut(last_answer(TWO_TURNS), length)

    assert len(found.input_ids) == len(found.labels) == length
    assert answer_start(found) == start
