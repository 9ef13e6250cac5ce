"""A line of a stage's log for people: what our stages print as JSON, and all else as it is."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ftctl.contract.status import LogLine


def readable(text: str) -> str:
    """`12:00:03 step 4, loss 0.41`; the level where it is worse than info, then a traceback."""
    line = parsed(text)
    if line is None:
        return text
    level = "" if line.level in ("debug", "info") else f"{line.level}: "
    head = f"{line.time:%H:%M:%S} {level}{line.message}"
    return f"{head}\n{line.traceback}" if line.traceback else head


def parsed(text: str) -> LogLine | None:
    """The line as its stage wrote it, or None: then something else printed it."""
    if not text.startswith("{"):
        return None
    try:
        return LogLine.model_validate_json(text)
    except ValidationError:
        return None


def as_values(text: str) -> dict[str, Any]:
    """The line as plain values; what is no line of ours has its text in `message` alone."""
    line = parsed(text)
    return line.model_dump(mode="json", exclude_none=True) if line else {"message": text}
