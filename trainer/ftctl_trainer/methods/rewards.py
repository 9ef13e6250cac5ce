"""What an answer is worth: rewards of GRPO, added up by their weights."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ftctl.contract.rewards import RewardName, parse_reward
from ftctl.data.example import Example
from ftctl.data.parts import action_in, answer_text, right_action
from ftctl.errors import ConfigError, DataError
from ftctl_trainer.methods.own_reward import load_function

# Gets an answer, how many tokens it has, and its row.
Score = Callable[[str, int, Example], float]


@dataclass(frozen=True)
class Reward:
    """One reward; `of` gives its value for an answer, without the weight."""

    name: RewardName
    of: Score


class Rewards:
    """
    The rewards of a run.

    Args:
        names: entries of grpo.rewards.
        files: texts of the files that they name.
    Raises:
        ConfigError: a file cannot be loaded.
    """

    def __init__(self, names: Sequence[str], files: Mapping[str, str]) -> None:
        self._rewards = [Reward(name, _score(name, files)) for name in map(parse_reward, names)]

    def check(self, rows: Sequence[Example]) -> None:
        """Refuse rewards that could tell nothing of these rows. Raises DataError."""
        if any(reward.name.name == "json_action" for reward in self._rewards) and not any(
            right_action(row) is not None for row in rows
        ):
            raise DataError(
                "json_action compares actions, and no row's right answer names one",
                where="grpo.rewards",
                hint="Choose another reward: similarity, json_schema:FILE.json, regex:PATTERN.",
            )

    def total(self, answer: str, tokens: int, row: Example) -> float:
        """
        The weighted sum.

        Raises:
            ConfigError: a reward raised, or returned no finite number.
        """
        return sum(
            reward.name.weight * _finite(reward, answer, tokens, row) for reward in self._rewards
        )


def json_action(answer: str, tokens: int, row: Example) -> float:
    """1 for the right action, 0 for another, -1 for what is no JSON object that names one."""
    action = action_in(answer)
    if action is None:
        return -1.0
    return 1.0 if action == right_action(row) else 0.0


def similarity(answer: str, tokens: int, row: Example) -> float:
    """How much of the right answer's text is there, 0 to 1 (difflib's ratio)."""
    return SequenceMatcher(None, answer.strip(), answer_text(row).strip(), autojunk=False).ratio()


def regex(pattern: str) -> Score:
    """1 where the whole answer, white space at its ends aside, matches; else 0."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda answer, tokens, row: float(compiled.fullmatch(answer.strip()) is not None)


def length(limit: int) -> Score:
    """1 up to `limit` tokens, falling to 0 at twice as many."""
    return lambda answer, tokens, row: min(1.0, max(0.0, 2 - tokens / limit))


def json_schema(text: str, where: str) -> Score:
    """1 for JSON that fits the schema, 0 for other JSON, -1 for none. Raises ConfigError."""
    import json

    from jsonschema import exceptions, validators

    schema = json.loads(text)
    kind = validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except exceptions.SchemaError as error:
        raise ConfigError(f"this is no JSON schema: {error.message}", where=where) from error
    validator = kind(schema)

    def score(answer: str, tokens: int, row: Example) -> float:
        try:
            value: Any = json.loads(answer)
        except (ValueError, RecursionError):
            return -1.0
        return float(validator.is_valid(value))

    return score


def _score(name: RewardName, files: Mapping[str, str]) -> Score:
    match name.name:
        case "json_action":
            return json_action
        case "similarity":
            return similarity
        case "regex":
            return regex(name.argument)
        case "length":
            return length(int(name.argument))
        case "json_schema":
            return json_schema(files[str(name.file)], str(name.file))
        case _:
            return _own(name, files[str(name.file)])


def _own(name: RewardName, text: str) -> Score:
    function = load_function(text, str(name.file), name.argument)
    return lambda answer, tokens, row: function(answer, row.model_dump(exclude_defaults=True))


def _finite(reward: Reward, answer: str, tokens: int, row: Example) -> float:
    value: Any = reward.of(answer, tokens, row)
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    raise ConfigError(
        f"the reward gives {value!r}, which is no finite number, for row {row.id}",
        where=reward.name.text,
        hint=f"It was asked about the answer {answer[:80]!r}.",
    )
