"""The combinations that the tests of whole configurations are run with."""

from __future__ import annotations

from itertools import combinations, product

from tests.pairwise import pairwise

CHOICES = {"a": ["1", "2", "3"], "b": ["1", "2"], "c": ["1", "2", "3", "4"], "d": ["1", "2"]}


def test_every_two_choices_meet() -> None:
    rows = pairwise(CHOICES)

    for one, other in combinations(CHOICES, 2):
        met = {(row[one], row[other]) for row in rows}
        assert met == set(product(CHOICES[one], CHOICES[other]))


def test_there_are_far_fewer_than_all() -> None:
    assert 12 <= len(pairwise(CHOICES)) <= 16 < 3 * 2 * 4 * 2
    assert pairwise(CHOICES) == pairwise(CHOICES)
