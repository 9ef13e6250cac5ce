"""Rewards: how they are written, what they give, and what is refused before a run."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from ftctl.contract.rewards import RewardName, parse_reward
from ftctl.contract.spec import Config
from ftctl.data.example import ActionPrompt, Example
from ftctl.errors import ConfigError, DataError
from ftctl_trainer.methods.rewards import Rewards

ROW = Example(
    id="r",
    prompt=ActionPrompt(actions=["Open", "Shut"], user_input="open up"),
    answer={"Content": {"Action": "Open"}},
)
RIGHT = '{"Content": {"Action": "Open"}}'
SCHEMA = json.dumps({"type": "object", "required": ["Content"]})


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(
            "json_action", RewardName("json_action", "json_action", ""), id="a-name-alone"
        ),
        pytest.param(
            "0.5*length:40", RewardName("0.5*length:40", "length", "40", 0.5), id="a-weight"
        ),
        pytest.param(
            "regex:a:b|c", RewardName("regex:a:b|c", "regex", "a:b|c"), id="colons-in-a-pattern"
        ),
        pytest.param(
            "json_schema:s.json",
            RewardName("json_schema:s.json", "json_schema", "s.json", file="s.json"),
            id="a-schema",
        ),
        pytest.param(
            "2 * my/tone.py:polite",
            RewardName("2 * my/tone.py:polite", "own", "polite", 2.0, "my/tone.py"),
            id="a-function-of-ones-own",
        ),
    ],
)
def test_reads_what_stands_in_grpo_rewards(text: str, want: RewardName) -> None:
    assert parse_reward(text) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("json_actoin", "did you mean json_action", id="typo"),
        pytest.param("json_action:x", "write json_action alone", id="argument-too-many"),
        pytest.param("regex", "write regex:PATTERN", id="argument-missing"),
        pytest.param("regex:(", r"regex:\(: missing \)", id="bad-pattern"),
        pytest.param("length:0", "write a number of tokens", id="no-length"),
        pytest.param("tone.py", "names no function", id="no-function"),
    ],
)
def test_refuses_what_means_nothing(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"grpo": {"rewards": [text]}})


@pytest.mark.parametrize(
    ("names", "answer", "tokens", "want"),
    [
        pytest.param(["json_action"], RIGHT, 9, 1.0, id="right-action"),
        pytest.param(["json_action"], '{"Content": {"Action": "Shut"}}', 9, 0.0, id="wrong-action"),
        pytest.param(["json_action"], "Open", 1, -1.0, id="no-json"),
        pytest.param(["json_action"], "{}", 1, -1.0, id="no-action"),
        pytest.param(["json_schema:s.json"], '{"Content": 1}', 1, 1.0, id="fits-the-schema"),
        pytest.param(["json_schema:s.json"], "[]", 1, 0.0, id="another-json"),
        pytest.param(["json_schema:s.json"], "[", 1, -1.0, id="schema-without-json"),
        pytest.param(["regex:a.c"], " a\nc ", 3, 1.0, id="matches-whole"),
        pytest.param(["regex:a.c"], "abcd", 4, 0.0, id="matches-a-part"),
        pytest.param(["length:40"], "x", 40, 1.0, id="short-enough"),
        pytest.param(["length:40"], "x", 60, 0.5, id="half-too-long"),
        pytest.param(["length:40"], "x", 90, 0.0, id="far-too-long"),
        pytest.param(["similarity"], RIGHT, 9, 1.0, id="the-same-text"),
        pytest.param(["similarity"], "", 0, 0.0, id="nothing-of-it"),
        pytest.param(["json_action", "0.5*length:2"], RIGHT, 3, 1.25, id="weighted-sum"),
        pytest.param(["tone.py:shout"], "HEY", 1, 3.0, id="ones-own"),
    ],
)
def test_values_an_answer(names: list[str], answer: str, tokens: int, want: float) -> None:
    own = "def shout(answer, row):\n    return len(answer) if row['id'] == 'r' else 0\n"
    rewards = Rewards(names, {"s.json": SCHEMA, "tone.py": own})
    assert rewards.total(answer, tokens, ROW) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "import no_such_module\n",
            "tone.py:1: the reward's file fails: ModuleNotFoundError: No module named",
            id="a-file-that-fails",
        ),
        pytest.param("x = 1\n", "tone.py: there is no function 'polite'", id="no-such-function"),
        pytest.param("def polite(", "tone.py:1: the reward's file fails", id="syntax-error"),
        pytest.param(
            "def polite(answer, row):\n    return row['tone']\n",
            "tone.py:2: the reward 'polite' fails on row r: KeyError: 'tone'",
            id="raises",
        ),
        pytest.param(
            "def polite(answer, row): return float('nan')\n",
            "tone.py:polite: the reward gives nan, which is no finite number, for row r",
            id="gives-nan",
        ),
        pytest.param(
            "def polite(answer, row): return None\n",
            "tone.py:polite: the reward gives None, which is no finite number, for row r",
            id="gives-nothing",
        ),
    ],
)
def test_a_reward_that_does_not_work_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rewards(["tone.py:polite"], {"tone.py": text}).total("hi", 1, ROW)
    assert str(caught.value).startswith(message)


def test_actions_are_not_rewarded_where_no_row_has_one() -> None:
    row = Example.model_validate(
        {
            "id": "t",
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
            ],
        }
    )
    with pytest.raises(DataError, match="no row's right answer names one"):
        Rewards(["json_action"], {}).check([row])


def test_answers_of_a_step_are_whole_groups() -> None:
    with pytest.raises(ValidationError, match="num_generations=3 does not divide the 4 answers"):
        Config.model_validate({"training": {"method": "grpo"}, "grpo": {"num_generations": 3}})
