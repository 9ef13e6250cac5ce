"""
The `actions` format: an assistant that picks one of the actions available to it.

A row is `{"prompt": {"History", "AvailableActions", "UserInput"}, "answer": {...}}`. The system
text stands beside the rows, in the file's header, or in a row of its own right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.data.example import ActionPrompt, Example
from ftctl.data.formats.fields import Fields, structured

_FIELDS = frozenset({"History", "AvailableActions", "UserInput"})


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the prompt is an object with at least one of the format's fields."""
    prompt = structured(row.get("prompt"))
    return isinstance(prompt, dict) and not _FIELDS.isdisjoint(prompt)


def read(fields: Fields, row_id: str) -> Example | None:
    """Turn a row into an Example with `prompt` and `answer`; the template makes the messages."""
    system = fields.optional_text("system")
    prompt = fields.mapping("prompt")
    answer = fields.mapping("answer")
    if prompt is None:
        return None
    action_prompt = ActionPrompt(
        history=prompt.texts("History"),
        actions=_once_each(prompt.texts("AvailableActions")),
        user_input=prompt.text("UserInput"),
    )
    return Example(
        id=row_id,
        system=system,
        prompt=action_prompt,
        answer=dict(answer.values) if answer else None,
    )


def _once_each(actions: list[str]) -> list[str]:
    return list(dict.fromkeys(actions))
