"""The row formats: each says which rows are its own, and turns one into an Example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.data.example import Example
from ftctl.data.formats import actions, conversations, pairs, preferences
from ftctl.data.formats.fields import Fields
from ftctl.data.problems import names
from ftctl.data.raw import RawFile
from ftctl.errors import DataError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """
    A row format.

    `matches` looks at the fields a question stands in, never at the answer's: a row without its
    answer is a bad row of this format, and is reported as one. `read` takes the row's fields and
    id, and notes every complaint in the fields.
    """

    name: str
    layout: str
    matches: Callable[[Row], bool]
    read: Callable[[Fields, str], Example | None]


# More particular formats first: the first that matches a row is the row's.
FORMATS: tuple[Format, ...] = (
    Format("ranked", "prompt, responses, rank", preferences.is_ranked, preferences.ranked),
    Format("preference", "prompt, chosen, rejected", preferences.is_pair, preferences.pair),
    Format("labelled", "prompt, completion, label", preferences.is_labelled, preferences.labelled),
    Format(
        "actions",
        "prompt with History, AvailableActions, UserInput; answer",
        actions.matches,
        actions.read,
    ),
    Format("messages", "messages, or conversations", conversations.matches, conversations.read),
    Format("dialogue", "system, user, bot", pairs.is_dialogue, pairs.dialogue),
    Format("instruction", "instruction, input, response", pairs.is_instruction, pairs.instruction),
    Format("prompt_completion", "prompt, completion", pairs.is_completion, pairs.prompt_completion),
)
# Rows of these say which answer is better or good, and match among other columns.
_PARTICULAR = frozenset({"ranked", "preference", "labelled"})


def find_format(file: RawFile, name: str) -> Format:
    """
    The format of a file's rows: the named one, or for `auto` the one that most rows match.

    Raises:
        DataError: no format matches, or two do; says which fields were found.
    """
    if name != "auto":
        return next(format_ for format_ in FORMATS if format_.name == name)
    rows = [row.value for row in file.rows if isinstance(row.value, dict)]
    counts = {format_.name: 0 for format_ in FORMATS}
    for row in rows:
        for found in _matching(row):
            counts[found.name] += 1
    most = max(counts.values())
    best = [format_ for format_ in FORMATS if most and counts[format_.name] == most]
    if len(best) == 1:
        return best[0]
    raise _unclear(file, rows, best)


def _matching(row: Row) -> list[Format]:
    found = [format_ for format_ in FORMATS if format_.matches(row)]
    if found and found[0].name in _PARTICULAR:
        return found[:1]
    return found


def _unclear(file: RawFile, rows: Sequence[Row], best: Sequence[Format]) -> DataError:
    if best:
        what = f"rows match two formats: {' and '.join(format_.name for format_ in best)}"
    elif rows:
        fields = sorted({str(key) for row in rows[:100] for key in row})
        what = f"the row format is unclear; fields found: {names(fields) or 'none'}"
    else:
        what = "the row format is unclear: no row is an object with fields"
    formats = "; ".join(f"{format_.name} ({format_.layout})" for format_ in FORMATS)
    return DataError(what, where=file.name, hint=f"Name it with dataset.format=NAME: {formats}.")
