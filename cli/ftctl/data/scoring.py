"""Scores the answers of a model, or of a published file, against the right ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ftctl.contract.evaluation import Scores
from ftctl.data.example import Example
from ftctl.data.parts import action_in, answer_text, right_action
from ftctl.data.scripts import by_script


class AnswerScore(NamedTuple):
    """One answer; None where a row is not about actions."""

    valid_json: bool | None
    right_action: bool | None
    exact: bool


def score_answer(text: str, expected: Example) -> AnswerScore:
    """
    Compare an answer with the right one.

    Valid JSON means that the whole text, white space aside, is a JSON object with an action at
    Content.Action. Exact means equal texts, white space at the ends aside.
    """
    exact = text.strip() == answer_text(expected).strip()
    wanted = right_action(expected)
    if wanted is None:
        return AnswerScore(None, None, exact)
    action = action_in(text)
    return AnswerScore(action is not None, action == wanted, exact)


def score_rows(answers: Sequence[str], examples: Sequence[Example]) -> Scores:
    """
    Scores over all rows, and in `groups` by the script of the request.

    Raises:
        ValueError: there is not one answer for each row.
    """
    scores = [score_answer(text, row) for text, row in zip(answers, examples, strict=True)]
    groups = {
        script: _summary([scores[position] for position in positions])
        for script, positions in by_script(examples).items()
    }
    return _summary(scores).model_copy(update={"groups": groups})


def _summary(scores: Sequence[AnswerScore]) -> Scores:
    return Scores(
        rows=len(scores),
        valid_json=_share([score.valid_json for score in scores]),
        right_action=_share([score.right_action for score in scores]),
        exact_match=_share([score.exact for score in scores]),
    )


def _share(values: Sequence[bool | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
