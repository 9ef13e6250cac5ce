"""Reads a JSON document of rows one row at a time, so that each keeps its line in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftctl.data.json_text import JsonError, RepeatedKeyError, parse, parse_at, skip_blank
from ftctl.data.problems import Place, Problem, names
from ftctl.data.raw import ROW_LIMIT_BYTES, RawFile, RawRow, too_large
from ftctl.errors import DataError

ROWS_KEY = "examples"
_SLICE_CHARACTERS = 2**20


def read_json(text: str, name: str, stem: str) -> RawFile:
    """
    Read `[row, ...]`, or an object with the rows under "examples" (a list, or a map by row id).

    Other keys of the object become the file's header.

    Raises:
        DataError: the text is no JSON (with line and column, and whether it seems cut), or has
            no rows where they are looked for.
    """
    reader = _Reader(text, RawFile(name, stem))
    try:
        reader.document()
    except JsonError as error:
        raise _syntax_error(text, name, error) from error
    return reader.file


def begins_several(text: str) -> bool:
    """Whether an object follows the first line's value: the file is JSONL, whatever its name."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.lstrip().startswith("{"):
        return False
    try:
        parse(first)
    except RepeatedKeyError:
        return True
    except JsonError:
        return False
    return True


class _Reader:
    """A cursor over the text. The line is counted on from the last row: one pass over the file."""

    def __init__(self, text: str, file: RawFile) -> None:
        self.text, self.file = text, file
        self.at = skip_blank(text, 0)
        self._line, self._counted = 1, 0

    def document(self) -> None:
        """Read the whole text."""
        if self._take("["):
            self._list()
        elif self._take("{"):
            self._object()
        else:
            value, _ = parse_at(self.text, self.at)
            raise DataError(
                f"the file holds {_kind(value)}, no rows", where=self.file.name, hint=_LAYOUTS
            )
        if self.at < len(self.text):
            raise JsonError("text after the end of the document", self.at)

    def _object(self) -> None:
        found = False
        for key in self._keys("}"):
            if key == ROWS_KEY and not found and self._take("["):
                found = True
                self._list()
            elif key == ROWS_KEY and not found and self._take("{"):
                found = True
                self._map()
            elif key in self.file.header or (key == ROWS_KEY and found):
                raise RepeatedKeyError(key, self.at, self.at)
            else:
                self.file.header[key] = self._value()
        if not found:
            keys = names(self.file.header) or "none"
            raise DataError(
                f'no "{ROWS_KEY}" with a list or a map of rows; keys found: {keys}',
                where=self.file.name,
                hint=_LAYOUTS,
            )

    def _list(self) -> None:
        if self._take("]"):
            return
        while True:
            self._row(None)
            if not self._more("]"):
                return

    def _map(self) -> None:
        for key in self._keys("}"):
            self._row(key)

    def _keys(self, closing: str) -> Iterator[str]:
        if self._take(closing):
            return
        while True:
            if self.text[self.at : self.at + 1] != '"':
                raise self._unexpected("a key in double quotes")
            key = str(self._value())
            if not self._take(":"):
                raise self._unexpected("':'")
            yield key
            if not self._more(closing):
                return

    def _row(self, key: str | None) -> None:
        start, place = self.at, Place(self.file.name, self._line_of(self.at))
        try:
            value = self._value()
        except RepeatedKeyError as error:
            self.at = skip_blank(self.text, error.end)
            self.file.problems.append(Problem(place, error.reason, key))
            return
        size = self._size(start, self.at)
        if size > ROW_LIMIT_BYTES:
            self.file.problems.append(Problem(place, too_large(size), key))
        else:
            self.file.rows.append(RawRow(place, value, key))

    def _size(self, start: int, end: int) -> int:
        """Bytes of the text between two indexes, where that can matter; else its characters."""
        if end - start <= ROW_LIMIT_BYTES // 4:  # A character has at most four bytes.
            return end - start
        steps = range(start, end, _SLICE_CHARACTERS)
        return sum(len(self.text[at : min(at + _SLICE_CHARACTERS, end)].encode()) for at in steps)

    def _value(self) -> Any:
        value, end = parse_at(self.text, self.at)
        self.at = skip_blank(self.text, end)
        return value

    def _take(self, char: str) -> bool:
        if self.text[self.at : self.at + 1] != char:
            return False
        self.at = skip_blank(self.text, self.at + 1)
        return True

    def _more(self, closing: str) -> bool:
        """Whether a comma follows, and not the closing bracket."""
        if self._take(","):
            return True
        if self._take(closing):
            return False
        raise self._unexpected(f"',' or '{closing}'")

    def _unexpected(self, wanted: str) -> JsonError:
        return JsonError(f"expected {wanted}", self.at, cut=self.at >= len(self.text))

    def _line_of(self, position: int) -> int:
        self._line += self.text.count("\n", self._counted, position)
        self._counted = position
        return self._line


_LAYOUTS = (
    'Use a list of rows, {"examples": [row, ...]}, {"examples": {"id": row, ...}}, '
    "or one row a line (JSONL)."
)


def _syntax_error(text: str, name: str, error: JsonError) -> DataError:
    line = text.count("\n", 0, error.position) + 1
    column = error.position - text.rfind("\n", 0, error.position)
    if error.cut:
        what = f"the JSON stops in the middle, at column {column}: the file seems cut"
        hint = "Copy or export the file again; its end is missing."
    elif isinstance(error, RepeatedKeyError):
        what, hint = f"{error.reason}, at column {column}", "Keep one of them."
    else:
        what = f"no JSON at column {column}: {error.reason[:1].lower()}{error.reason[1:]}"
        hint = "Mend the file there; every JSON checker shows the place."
    return DataError(what, where=f"{name}:{line}", hint=hint)


def _kind(value: object) -> str:
    names = {str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return names.get(type(value), "null")
