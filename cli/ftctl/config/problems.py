"""Collects everything that is wrong, to say it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftctl.config.secret import redact
from ftctl.errors import ConfigError

_SHOWN_CHARS = 80


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where, what, and a whole sentence of advice."""

    where: str | None
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.hint}" if self.hint else text


def as_error(problems: Sequence[Problem]) -> ConfigError:
    """One error that tells all `problems`, each once."""
    distinct = list(dict.fromkeys(problems))
    if len(distinct) == 1:
        only = distinct[0]
        return ConfigError(only.what, where=only.where, hint=only.hint)
    lines = "".join(f"\n  {problem}" for problem in distinct)
    return ConfigError(f"{len(distinct)} problems in the configuration{lines}")


def shown(value: object) -> str:
    """A value as a message shows it: short, and with no secret in it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = redact(repr(value) if isinstance(value, str) else str(value))
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."
