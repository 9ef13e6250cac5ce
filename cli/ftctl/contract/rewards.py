"""The names that grpo.rewards takes, and what is written behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePath
from typing import NoReturn

# Name to what stands after its colon; None: nothing does.
ARGUMENTS: dict[str, str | None] = {
    "json_action": None,
    "json_schema": "FILE.json",
    "regex": "PATTERN",
    "length": "TOKENS",
    "similarity": None,
}
OWN = "FILE.py:FUNCTION"
_WEIGHTED = re.compile(r"(?:(?P<weight>\d+(?:\.\d+)?)\s*\*\s*)?(?P<rest>.+)", re.DOTALL)


@dataclass(frozen=True)
class RewardName:
    """
    One reward: `json_action`, `0.5*length:40`, `rewards/tone.py:polite`.

    `name` is a key of ARGUMENTS, or `own` with the function's name as argument. `file` is what
    has to come along to the pods, as it is written in the configuration.
    """

    text: str
    name: str
    argument: str
    weight: float = 1.0
    file: str | None = None


def parse_reward(text: str) -> RewardName:
    """Read one entry of grpo.rewards. Raises ValueError: says what is allowed."""
    match = _WEIGHTED.fullmatch(text.strip())
    if match is None:
        _refuse(text)
    weight = float(match["weight"] or 1.0)
    name, _, argument = match["rest"].partition(":")
    if PurePath(name).suffix == ".py":
        if not argument.isidentifier():
            raise ValueError(f"{text!r} names no function; write {OWN}")
        return RewardName(text, "own", argument, weight, name)
    if name not in ARGUMENTS:
        _refuse(name)
    wanted = ARGUMENTS[name]
    if bool(argument) != (wanted is not None):
        raise ValueError(f"{text!r}: write {name}{f':{wanted}' if wanted else ' alone'}")
    _check_argument(name, argument)
    return RewardName(text, name, argument, weight, argument if name == "json_schema" else None)


def _check_argument(name: str, argument: str) -> None:
    if name == "length" and not (argument.isdecimal() and int(argument)):
        raise ValueError(f"length:{argument}: write a number of tokens, length:40")
    if name == "regex":
        try:
            re.compile(argument)
        except re.error as error:
            raise ValueError(f"regex:{argument}: {error}") from None


def _refuse(name: str) -> NoReturn:
    known = [f"{key}:{value}" if value else key for key, value in ARGUMENTS.items()]
    near = get_close_matches(name, ARGUMENTS, n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"unknown reward {name!r}; known: {', '.join([*known, OWN])}{guess}")
