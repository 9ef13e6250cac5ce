"""A file's raw rows, turned into Examples; what is wrong with a row becomes one problem."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ftctl.data.example import Example
from ftctl.data.formats import Format, find_format
from ftctl.data.formats.fields import Fields, kind
from ftctl.data.problems import Place, Problem
from ftctl.data.raw import RawFile, RawRow, Source
from ftctl.data.read import read


@dataclass(frozen=True)
class FileRows:
    """The good rows of one file, and its bad ones."""

    name: str
    stem: str
    format: str
    examples: list[Example]
    problems: list[Problem]


def read_examples(source: Source, format_name: str = "auto") -> FileRows:
    """
    Read a file in the named format, or in the one its rows show.

    Raises:
        DataError: the file cannot be read as a whole, is empty, or its format is unclear.
    """
    file = read(source)
    problems = list(file.problems)
    examples: list[Example] = []
    seen: dict[str, Place] = {}
    if file.rows:
        format_ = find_format(file, format_name)
        format_name = format_.name
    for number, row in enumerate(file.rows, start=1):
        row_id = _row_id(row, f"{file.stem}-{number}")
        example, reasons = _convert(file, row, format_, row_id)
        if row_id in seen:
            reasons.append(f"the id stands twice; first at {seen[row_id]}")
        seen.setdefault(row_id, row.place)
        if reasons or example is None:
            problems.append(Problem(row.place, "; ".join(reasons), row_id))
        else:
            examples.append(example)
    problems.sort(key=lambda problem: problem.place.number)
    return FileRows(file.name, file.stem, format_name, examples, problems)


def _row_id(row: RawRow, otherwise: str) -> str:
    """The key in the map of rows, or the row's own `id`, or the file's stem and a number."""
    if row.key:
        return row.key
    own = row.value.get("id") if isinstance(row.value, dict) else None
    if isinstance(own, str) and own.strip():
        return own
    return str(own) if type(own) is int else otherwise


def _convert(
    file: RawFile, row: RawRow, format_: Format, row_id: str
) -> tuple[Example | None, list[str]]:
    if not isinstance(row.value, dict):
        return None, [f"the row is {kind(row.value)}, not an object"]
    shared = {"system": file.header["system"]} if "system" in file.header else {}
    fields = Fields({**shared, **row.value})
    example = format_.read(fields, row_id)
    reasons = fields.complaints
    if example is not None and not reasons:
        reasons.extend(_unstorable(example))
    return example, reasons


def _unstorable(example: Example) -> list[str]:
    """Why a row cannot be written as JSON in UTF-8, although it could be read."""
    try:
        json.dumps(example.answer, allow_nan=False)
        example.canonical().encode("utf-8")
    except UnicodeEncodeError:
        return ["a text holds half of a surrogate pair, which is no character"]
    except (TypeError, ValueError) as error:
        return [f"the answer is no JSON: {error}"]
    return []
