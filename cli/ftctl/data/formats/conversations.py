"""The `messages` format: role and content, or ShareGPT's `conversations` with from and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.data.example import Example, Message, Role
from ftctl.data.formats.fields import Fields, kind
from ftctl.data.problems import printable

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
}


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row holds a conversation."""
    return "messages" in row or "conversations" in row


def read(fields: Fields, row_id: str) -> Example | None:
    """Turn a row into an Example whose last message is the assistant's."""
    name = "messages" if fields.has("messages") else "conversations"
    messages = read_messages(fields, name)
    system = fields.optional_text("system")
    if system and messages and messages[0].role != "system":
        messages = [Message(role="system", content=system), *messages]
    if fields.complaints:
        return None
    if messages[-1].role != "assistant":
        fields.complain(f"no answer: the last of {name} is the {messages[-1].role}'s")
    if not any(message.role == "user" for message in messages):
        fields.complain(f"{name} has no turn of the user")
    return Example(id=row_id, messages=messages)


def read_messages(fields: Fields, name: str) -> list[Message]:
    """Turn a list of turns into messages; complains about each turn that is none."""
    return [
        message
        for index, turn in enumerate(fields.items(name))
        if (message := _message(fields, f"{name}[{index}]", turn)) is not None
    ]


def _message(fields: Fields, where: str, turn: object) -> Message | None:
    if not isinstance(turn, dict):
        fields.complain(f"{where} is {kind(turn)}, not an object with role and content")
        return None
    inside = Fields(turn, fields.complaints, f"{where}.")
    role_name = inside.text("role", "from")
    content = inside.text("content", "value")
    if not role_name or not content:
        return None
    role = _ROLES.get(role_name)
    if role is None:
        fields.complain(
            f"{where} has the unknown role {printable(role_name)}; known: {', '.join(_ROLES)}"
        )
        return None
    return Message(role=role, content=content)
