"""The parts of a row that statistics, baselines and scores look at, whatever its shape."""

from __future__ import annotations

import json
from typing import Any

from ftctl.data.example import Example, action_of


def request_of(example: Example) -> str:
    """What the user asks last."""
    if example.prompt is not None:
        return example.prompt.user_input
    asked = [message.content for message in example.messages if message.role == "user"]
    return asked[-1] if asked else ""


def prompt_text(example: Example) -> str:
    """All that the model is told besides the system text: history, actions, request; or turns."""
    if example.prompt is not None:
        prompt = example.prompt
        return "\n".join([*prompt.history, *prompt.actions, prompt.user_input])
    turns = [message for message in example.messages if message.role != "system"]
    if turns and turns[-1].role == "assistant":
        turns = turns[:-1]
    return "\n".join(message.content for message in turns)


def answer_text(example: Example) -> str:
    """The row's answer as the model writes it; the better one where there are several."""
    if example.answer is not None:
        return json.dumps(example.answer, ensure_ascii=False)
    if example.chosen is not None:
        return example.chosen
    if example.responses and example.ranks:
        return example.responses[example.ranks.index(min(example.ranks))]
    last = example.messages[-1] if example.messages else None
    return last.content if last is not None and last.role == "assistant" else ""


def action_in(text: str) -> str | None:
    """The action that a text names, if the whole text is a JSON object that names one."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return action_of(value)


def right_action(example: Example) -> str | None:
    """The action of the right answer, or None where the row has none, or no action."""
    if example.label is False:
        return None
    if example.answer is not None:
        return action_of(example.answer)
    return action_in(answer_text(example))
