"""The quickstart's rows: enough, in two languages, and not to be solved without a model."""

import re
from functools import cache
from pathlib import Path

import pytest

from ftctl.contract.spec import Config
from ftctl.data.baselines import baselines, overlap
from ftctl.data.dataset import load_dataset
from ftctl.data.example import Example
from ftctl.data.parts import request_of, right_action
from ftctl.data.stats import split_stats

PROJECT = Path(__file__).parents[3]
TALK = "Talk"


@cache
def split(name: str) -> list[Example]:
    files = {part: f"data/quickstart/{part}.json" for part in ("train", "eval")}
    config = Config.model_validate({"dataset": files})
    return list(load_dataset(config, base_dir=PROJECT).splits[name])


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


@pytest.mark.parametrize(
    ("name", "scripts"),
    [
        pytest.param("train", {"Cyrillic": 110, "Latin": 408}, id="train"),
        pytest.param("eval", {"Cyrillic": 22, "Latin": 84}, id="eval"),
    ],
)
def test_about_four_in_five_rows_are_english(name: str, scripts: dict[str, int]) -> None:
    stats = split_stats(split(name))
    assert stats.scripts == scripts
    assert scripts["Latin"] / stats.rows == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("name", ["train", "eval"])
def test_every_right_action_is_available_and_every_row_may_talk(name: str) -> None:
    stats = split_stats(split(name))
    assert (stats.unavailable, stats.duplicates) == (0, 0)
    assert {row.prompt.actions[-1] for row in split(name) if row.prompt} == {TALK}
    assert {len(row.prompt.actions) for row in split(name) if row.prompt} == {4, 5}


@pytest.mark.parametrize("name", ["train", "eval"])
def test_no_request_holds_the_name_of_its_right_action(name: str) -> None:
    given_away = [
        row.id
        for row in split(name)
        if letters(right_action(row) or "") in letters(request_of(row))
    ]
    assert given_away == []


def test_every_action_is_right_in_some_rows_and_wrong_in_others() -> None:
    train = split("train")
    right = {right_action(row) for row in train}
    wrong = {
        action
        for row in train
        if row.prompt
        for action in row.prompt.actions
        if action != right_action(row)
    }
    assert right == wrong
    assert len(right) == 11


def test_no_held_out_request_stands_in_training() -> None:
    shared = overlap(split("train"), split("eval"))
    assert (shared.rows, shared.same_request, shared.same_prompt) == (106, 0, 0)


def test_rules_without_a_model_stay_below_two_in_five() -> None:
    found = baselines(split("train"), split("eval"))
    assert found.majority_action == TALK
    assert max(found.majority_groups.values()) <= 0.4
    assert max(found.keyword_groups.values()) <= 0.4
