"""Held-out rows with what each model answered, judged as the evaluation judges them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ftctl.contract.answers import action_of
from ftctl.contract.evaluation import Evaluation, Sample

# A page of thousands of answers would not be read; eval.json has them all.
SHOWN = 100


@dataclass(frozen=True)
class Answer:
    """What one model said. `right` is None for the expected answer itself."""

    model: str
    text: str
    right: bool | None
    why: str


@dataclass(frozen=True)
class JudgedSample:
    """A held-out row; the expected answer stands first."""

    id: str
    request: str
    answers: tuple[Answer, ...]


def judged_samples(evaluation: Evaluation | None) -> list[JudgedSample]:
    """At most SHOWN samples, evenly spread; their answers in the order of the pipeline."""
    samples = evaluation.samples if evaluation else []
    shown = min(len(samples), SHOWN)
    return [_judged(samples[number * len(samples) // shown]) for number in range(shown)]


def judge(expected: str, answer: str) -> tuple[bool, str]:
    """
    Whether an answer is right, and why, in two or three words.

    An expected answer that names an action asks for valid JSON with that action; any other asks
    for its own text, white space at the ends aside.
    """
    action = action_of(_json(expected))
    if action is None:
        same = answer.strip() == expected.strip()
        return same, "same text" if same else "other text"
    parsed = _json(answer)
    if parsed is _NOT_JSON:
        return False, "not JSON"
    found = action_of(parsed)
    if found is None:
        return False, "names no action"
    return found == action, "right action" if found == action else "wrong action"


_NOT_JSON = object()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _judged(sample: Sample) -> JudgedSample:
    said = {"before": sample.before, "after": sample.after, **sample.quantized}
    answers = [Answer("expected", sample.expected, None, "")]
    for model, text in said.items():
        if text is not None:
            answers.append(Answer(model, text, *judge(sample.expected, text)))
    return JudgedSample(sample.id, sample.request, tuple(answers))
