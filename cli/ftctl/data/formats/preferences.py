"""Formats that say of answers to a prompt which is better, or whether one is good."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ftctl.data.example import Example, Message
from ftctl.data.formats.conversations import read_messages
from ftctl.data.formats.fields import Fields, kind, structured

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def is_pair(row: Mapping[str, Any]) -> bool:
    """Whether the row has a chosen or a rejected answer."""
    return "chosen" in row or "rejected" in row


def is_ranked(row: Mapping[str, Any]) -> bool:
    """Whether the row has several responses."""
    return "responses" in row


def is_labelled(row: Mapping[str, Any]) -> bool:
    """Whether the row has a completion, and a label that is a truth value."""
    return "prompt" in row and "completion" in row and _truth(row.get("label")) is not None


def pair(fields: Fields, row_id: str) -> Example | None:
    """
    `prompt`, `chosen` and `rejected`: each a text or a list of messages.

    Lists of messages may repeat the prompt; where there is no prompt field they must.
    """
    prompt = _prompt(fields) if fields.has("prompt") else None
    first, chosen = _answer(fields, "chosen", prompt)
    second, rejected = _answer(fields, "rejected", prompt)
    if fields.complaints:
        return None
    if first != second:
        fields.complain("chosen and rejected do not answer the same prompt")
    if not first:
        fields.complain("no prompt")
    if chosen == rejected:
        fields.complain("chosen and rejected are the same")
    return Example(id=row_id, messages=first, chosen=chosen, rejected=rejected)


def ranked(fields: Fields, row_id: str) -> Example | None:
    """`prompt`, `responses` (at least two texts) and `rank`, a number each; smaller is better."""
    messages = _prompt(fields)
    responses = fields.items("responses")
    for index, response in enumerate(responses):
        if not isinstance(response, str):
            fields.complain(f"responses[{index}] is {kind(response)}, not a text")
        elif not response.strip():
            fields.complain(f"responses[{index}] is empty")
    name = "ranks" if fields.has("ranks") else "rank"
    ranks = fields.items(name)
    for index, rank in enumerate(ranks):
        if not _is_rank(rank):
            fields.complain(f"{name}[{index}] is not a finite number")
    if responses and ranks and len(responses) != len(ranks):
        fields.complain(f"{len(responses)} responses and {len(ranks)} ranks")
    elif len(responses) == 1:
        fields.complain("one response; ranks need at least two")
    if fields.complaints:
        return None
    return Example(id=row_id, messages=messages, responses=responses, ranks=ranks)


def labelled(fields: Fields, row_id: str) -> Example | None:
    """`prompt` and `completion`, each a text or a list of messages, and `label`: true is good."""
    prompt = _prompt(fields)
    _, answer = _answer(fields, "completion", prompt)
    label = _truth(fields.values.get("label"))
    if label is None:
        fields.complain("label is neither true nor false")
    if fields.complaints:
        return None
    messages = [*prompt, Message(role="assistant", content=answer)]
    return Example(id=row_id, messages=messages, label=label)


def _truth(value: object) -> bool | None:
    """A truth value, also as 1 and 0, and as text in a CSV cell; None for anything else."""
    if isinstance(value, bool):
        return value
    return _TRUTHS.get(str(value).strip().lower())


def _is_rank(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # False for NaN, too


def _prompt(fields: Fields) -> list[Message]:
    """The prompt's messages, which end with the user's turn."""
    if isinstance(structured(fields.values.get("prompt")), list):
        messages = read_messages(fields, "prompt")
        if messages and messages[-1].role == "assistant":
            fields.complain("prompt ends with the assistant's turn")
    else:
        question = fields.text("prompt")
        messages = [Message(role="user", content=question)] if question else []
    system = fields.optional_text("system")
    if system and messages and messages[0].role != "system":
        messages = [Message(role="system", content=system), *messages]
    return messages


def _answer(fields: Fields, name: str, prompt: list[Message] | None) -> tuple[list[Message], str]:
    """The prompt that an answer belongs to, and its text."""
    if not isinstance(structured(fields.values.get(name)), list):
        return prompt or [], fields.text(name)
    messages = read_messages(fields, name)
    if not messages:
        return prompt or [], ""
    *before, last = messages
    if last.role != "assistant":
        fields.complain(f"{name} does not end with the assistant's turn")
    if prompt is None:
        return before, last.content
    if before and before != prompt:
        fields.complain(f"{name} repeats another prompt than the row's")
    return prompt, last.content
