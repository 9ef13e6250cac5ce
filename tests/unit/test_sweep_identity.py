"""What a sweep is named by, and what may name its best run."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.contract.names import RUN_NAME_LENGTH, is_run_id
from ftctl.contract.sweep import (
    Axis,
    checked_alias,
    is_sweep_id,
    sweep_hash,
    sweep_id,
)
from ftctl.errors import UsageError

CHILDREN = ("a" * 64, "b" * 64)
RATE = Axis(key="training.learning_rate", low=1e-5, high=1e-3)
RANK = Axis(key="model.lora_r", low=4, high=32, whole=True)


def of_children(children: tuple[str, ...] = CHILDREN, **more: Any) -> str:
    return sweep_hash(children, **{"objective": "loss", "stop_bad": False, **more})


def test_the_order_of_children_and_axes_is_not_counted() -> None:
    assert of_children() == of_children(CHILDREN[::-1])
    assert of_children(axes=[RATE, RANK], trials=5) == of_children(axes=[RANK, RATE], trials=5)


@pytest.mark.parametrize(
    "more",
    [
        {"objective": "right_action"},
        {"stop_bad": True},
        {"axes": [RATE]},
        {"axes": [RATE], "trials": 5},
        {"axes": [RATE], "trials": 5, "seed": 1},
    ],
)
def test_what_decides_the_outcome_is_counted(more: dict[str, Any]) -> None:
    assert of_children(**more) != of_children()


def test_the_id_says_that_it_is_a_sweep_and_is_no_longer_than_a_run_id() -> None:
    found = sweep_id("x" * 80, "c" * 64)

    assert sweep_id("tiny", "0123456789abcdef") == "tiny-sweep-0123456789ab"
    assert is_sweep_id(found)
    assert is_run_id(found)
    assert len(found) <= RUN_NAME_LENGTH + 13


@pytest.mark.parametrize("name", ["Best", "a/b", "", "-a", "tiny-0123456789ab", "x" * 64])
def test_a_name_that_could_be_taken_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        checked_alias(name)


@pytest.mark.parametrize("name", ["best", "tiny-sweep-0123456789ab-best", "bot.v2"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert checked_alias(name) == name
