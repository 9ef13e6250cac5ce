"""Rows that cannot be trained on: collected, counted against dataset.max_bad, shown together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ftctl.errors import DataError

SHOWN = 20
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Place:
    """Where a row stands: a line of a text file, or a row of a table without lines; both from 1."""

    file: str
    number: int
    unit: Literal["line", "row"] = "line"

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.number}"
            if self.unit == "line"
            else f"{self.file} row {self.number}"
        )


@dataclass(frozen=True)
class Problem:
    """A bad row, and all that is wrong with it."""

    place: Place
    reason: str
    id: str | None = None

    def __str__(self) -> str:
        row = f"{printable(self.id)}: " if self.id else ""
        return f"{self.place}: {row}{self.reason}"

    def as_json(self) -> dict[str, Any]:
        """The problem as plain values, for `--json`."""
        row_id = printable(self.id) if self.id else None
        return {**asdict(self.place), "id": row_id, "reason": self.reason}


class BadRowsError(DataError):
    """More rows are bad than dataset.max_bad allows."""

    def __init__(self, problems: Sequence[Problem], max_bad: int) -> None:
        self.problems = list(problems)
        rows = "1 bad row" if len(problems) == 1 else f"{len(problems):,} bad rows"
        super().__init__(
            f"{rows}, and dataset.max_bad is {max_bad}\n{listing(problems)}",
            where=_files(problems),
            hint="Mend the rows, or leave them out with "
            f"dataset.max_bad={len(problems)}. `ftctl data validate` checks again.",
        )


def printable(text: str) -> str:
    """A user's own text as a message can show it: short, and nothing a terminal would obey."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return shown if shown.isprintable() else ascii(shown)


def names(keys: Iterable[str]) -> str:
    """The first SHOWN keys that a user's file has, in a line."""
    every = list(keys)
    more = [f"and {len(every) - SHOWN:,} more"] if len(every) > SHOWN else []
    return ", ".join([*map(printable, every[:SHOWN]), *more])


def listing(lines: Sequence[object]) -> str:
    """The first SHOWN of `lines`, indented, one a line, then how many more there are."""
    shown = [f"  {line}" for line in lines[:SHOWN]]
    if len(lines) > SHOWN:
        shown.append(f"  and {len(lines) - SHOWN:,} more")
    return "\n".join(shown)


def refuse_above(problems: Sequence[Problem], max_bad: int) -> None:
    """Raise BadRowsError when there are more problems than `max_bad`."""
    if len(problems) > max_bad:
        raise BadRowsError(problems, max_bad)


def _files(problems: Sequence[Problem]) -> str | None:
    names = sorted({problem.place.file for problem in problems})
    return names[0] if len(names) == 1 else None
