"""How well held-out rows are answered without a model, and how many were seen in training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from ftctl.contract.evaluation import Baselines, Overlap
from ftctl.data.example import Example
from ftctl.data.parts import prompt_text, request_of, right_action
from ftctl.data.scripts import by_script

# Enough to join inflected forms of most words in Latin and Cyrillic text.
_STEM_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]+")


def baselines(
    train: Sequence[Example], held_out: Sequence[Example], always_allowed: Sequence[str] = ()
) -> Baselines:
    """
    The majority and the keyword rule, over the held-out rows whose answer names an action.

    Rates are shares from 0 to 1, whole and by script; None where no row is about actions.
    """
    majority = majority_action(train)
    rows = [row for row in held_out if right_action(row) is not None]
    if majority is None or not rows:
        return Baselines(majority_action=majority)
    by_majority, majority_groups = _rates(rows, lambda row: majority)
    by_keyword, keyword_groups = _rates(
        rows, lambda row: keyword_action(row, majority, always_allowed)
    )
    return Baselines(
        majority_action=majority,
        majority=by_majority,
        keyword=by_keyword,
        majority_groups=majority_groups,
        keyword_groups=keyword_groups,
    )


def majority_action(train: Sequence[Example]) -> str | None:
    """The most frequent right action, the first in the rows among equals."""
    counts = Counter(action for row in train if (action := right_action(row)) is not None)
    return counts.most_common(1)[0][0] if counts else None


def keyword_action(example: Example, majority: str, always_allowed: Sequence[str] = ()) -> str:
    """
    The available action that shares most word stems with the request, the first among equals.

    Where none shares one: the majority action if it is available, else the first always-allowed
    one, else the majority action all the same.
    """
    available = example.prompt.actions if example.prompt else []
    asked = _stems(request_of(example))
    shared = {action: len(asked & _stems(action)) for action in available}
    best = max(shared, key=lambda action: shared[action], default=None)
    if best is not None and shared[best]:
        return best
    if majority not in available and always_allowed:
        return always_allowed[0]
    return majority


def overlap(train: Sequence[Example], held_out: Sequence[Example]) -> Overlap:
    """Count held-out rows whose request, or whole prompt, stands in training rows."""
    requests = {_normal(request_of(row)) for row in train}
    prompts = {_normal(prompt_text(row)) for row in train}
    return Overlap(
        rows=len(held_out),
        same_request=sum(_normal(request_of(row)) in requests for row in held_out),
        same_prompt=sum(_normal(prompt_text(row)) in prompts for row in held_out),
    )


def _rates(
    rows: Sequence[Example], guess: Callable[[Example], str]
) -> tuple[float, dict[str, float]]:
    right = [guess(row) == right_action(row) for row in rows]
    groups = {
        script: sum(right[position] for position in positions) / len(positions)
        for script, positions in by_script(rows).items()
    }
    return sum(right) / len(rows), groups


def _stems(text: str) -> set[str]:
    return {word[:_STEM_LETTERS] for word in _WORD.findall(text.casefold())}


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
