"""What an answer of the `actions` format says. Evaluation, rewards and reports agree on it."""

from __future__ import annotations


def action_of(answer: object) -> str | None:
    """The action an answer names, `{"Content": {"Action": name}}`, or None where it names none."""
    content = answer.get("Content") if isinstance(answer, dict) else None
    action = content.get("Action") if isinstance(content, dict) else None
    return action if isinstance(action, str) and action else None
