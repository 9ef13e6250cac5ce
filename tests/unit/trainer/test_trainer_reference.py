from __future__ import annotations

from ftctl_trainer.data.tokenize import TokenizedRows
from ftctl_trainer.model.labels import IGNORED
from ftctl_trainer.reference import Answer, choose_sequences


def rows(*labels: list[int]) -> TokenizedRows:
    """Rows whose labels are given; the token at each place is 100 and the place."""
    return TokenizedRows(
        ids=[f"row-{number}" for number in range(len(labels))],
        input_ids=[[100 + place for place in range(len(row))] for row in labels],
        labels=list(labels),
    )


def test_takes_whole_answers_spread_over_the_rows_until_there_are_enough_tokens() -> None:
    ten = rows(*[[IGNORED, IGNORED, 1, 2] for _ in range(10)])
    assert [answer.id for answer in choose_sequences(ten, 5)] == ["row-0", "row-3", "row-6"]


def test_takes_no_row_more_once_there_are_as_many_tokens_as_asked_for() -> None:
    long_first = rows([IGNORED, 1, 2, 3, 4], *[[IGNORED, 1, 2] for _ in range(3)])
    assert [answer.id for answer in choose_sequences(long_first, 4)] == ["row-0"]


def test_takes_every_answer_when_there_are_too_few_tokens() -> None:
    two = rows([IGNORED, 1], [IGNORED, 1, 2])
    assert [answer.id for answer in choose_sequences(two, 1000)] == ["row-0", "row-1"]


def test_an_answer_ends_at_its_last_label_and_is_the_last_of_its_row() -> None:
    turns = rows([IGNORED, 5, 6, IGNORED, 7, 8, IGNORED])
    assert choose_sequences(turns, 1) == [Answer("row-0", [100, 101, 102, 103, 104, 105], 4)]


def test_nothing_predicts_the_first_token_of_a_row() -> None:
    assert choose_sequences(rows([5, 6, 7]), 9) == [Answer("row-0", [100, 101, 102], 1)]
    assert choose_sequences(rows([IGNORED, IGNORED]), 9) == []
