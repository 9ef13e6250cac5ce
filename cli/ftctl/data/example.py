"""A row in the one form that everything after the readers knows; canonical JSONL, one a line."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ftctl.contract.answers import action_of as action_of

Role = Literal["system", "user", "assistant", "tool"]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: str


class ActionPrompt(BaseModel):
    """A prompt in the `actions` format; the template turns it into a user message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    history: list[str] = []
    actions: list[str] = []
    user_input: str


class Example(BaseModel):
    """
    One row. Exactly one of three shapes:

    - `messages`, whose last turn is the assistant's (SFT), with a `label` for KTO: true where the
      answer is good;
    - `prompt` with `answer` (the `actions` format): the template makes the messages;
    - `messages` that end with the user's turn, with `chosen` and `rejected` (DPO, ORPO) or
      `responses` and `ranks` (GRPO; a smaller rank is better).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    messages: list[Message] = []
    system: str | None = None
    prompt: ActionPrompt | None = None
    answer: dict[str, Any] | None = None
    label: bool | None = None
    chosen: str | None = None
    rejected: str | None = None
    responses: list[str] | None = None
    ranks: list[float] | None = None

    def canonical(self) -> str:
        """One line of canonical JSON: fields that are not set left out, keys sorted, UTF-8 kept."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
