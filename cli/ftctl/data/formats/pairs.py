"""Formats of one question and one answer, each in a column of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.data.example import Example, Message
from ftctl.data.formats.fields import Fields


def is_dialogue(row: Mapping[str, Any]) -> bool:
    """Whether the row has the user's turn, and the bot's or the system's beside it."""
    return "user" in row and ("bot" in row or "system" in row)


def dialogue(fields: Fields, row_id: str) -> Example:
    """Columns `system` (optional), `user` and `bot`."""
    return _example(fields, row_id, fields.text("user"), fields.text("bot"))


def is_instruction(row: Mapping[str, Any]) -> bool:
    """Whether the row has an instruction."""
    return "instruction" in row


def instruction(fields: Fields, row_id: str) -> Example:
    """Columns `instruction`, `input` (optional) and `response` or `output`."""
    question = fields.text("instruction")
    extra = fields.optional_text("input")
    return _example(
        fields,
        row_id,
        f"{question}\n\n{extra}" if extra else question,
        fields.text("response", "output"),
    )


def is_completion(row: Mapping[str, Any]) -> bool:
    """Whether the row has a prompt and a completion."""
    return "prompt" in row and "completion" in row


def prompt_completion(fields: Fields, row_id: str) -> Example:
    """Columns `prompt` and `completion`."""
    return _example(fields, row_id, fields.text("prompt"), fields.text("completion"))


def _example(fields: Fields, row_id: str, question: str, answer: str) -> Example:
    system = fields.optional_text("system")
    messages = [Message(role="system", content=system)] if system else []
    messages.append(Message(role="user", content=question))
    messages.append(Message(role="assistant", content=answer))
    return Example(id=row_id, messages=messages)
