"""Parses JSON with limits, and says in plain words where and why it does not parse."""

from __future__ import annotations

import json
import re
from typing import Any

_BLANK = re.compile(r"[ \t\n\r]*")
# Where the text stops inside one of these, the decoder finds no value.
_WORDS = ("true", "false", "null", "-", "")
_ESCAPE_LENGTH = len("\\uXXXX\\uXXXX")


class JsonError(ValueError):
    """Text that is no JSON; `position` is the index of the first character that does not fit."""

    def __init__(self, reason: str, position: int, *, cut: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.position, self.cut = reason, position, cut


class RepeatedKeyError(JsonError):
    """A whole JSON value, up to `end`, in which an object has a key twice: one would be lost."""

    def __init__(self, key: str, position: int, end: int) -> None:
        super().__init__(f"the key {json.dumps(key, ensure_ascii=False)} stands twice", position)
        self.end = end


def parse_at(text: str, start: int = 0) -> tuple[Any, int]:
    """
    Parse the JSON value that begins at `start`; return it and the index after it.

    Raises:
        RepeatedKeyError: an object in it has a key twice.
        JsonError: it is not JSON, is nested too deeply, or holds a number too long to read.
    """
    repeated: list[str] = []

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend(key for key in found if keys.count(key) > 1)
        return found

    try:
        value, end = json.JSONDecoder(object_pairs_hook=each_once).raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise JsonError(error.msg, error.pos, cut=_is_cut(text, error)) from error
    except RecursionError as error:
        raise JsonError("nested too deeply", start) from error
    except ValueError as error:  # Python refuses to read integers of more than 4,300 digits.
        raise JsonError("a number has too many digits", start) from error
    if repeated:
        raise RepeatedKeyError(repeated[0], start, end)
    return value, end


def parse(text: str) -> Any:
    """Parse text that is one JSON value, white space aside. Raises JsonError."""
    value, end = parse_at(text, skip_blank(text, 0))
    end = skip_blank(text, end)
    if end < len(text):
        raise JsonError("text after the end of the JSON value", end)
    return value


def skip_blank(text: str, start: int) -> int:
    """Index of the first character from `start` on that is no white space."""
    found = _BLANK.match(text, start)
    return found.end() if found else start


def _is_cut(text: str, error: json.JSONDecodeError) -> bool:
    # An unescaped line break ends a string with another error, so this one ran to the end.
    if error.msg.startswith("Unterminated string"):
        return True
    rest = text[error.pos : error.pos + _ESCAPE_LENGTH + 1].rstrip()
    at_end = error.pos + len(rest) >= len(text.rstrip())
    if error.msg.startswith("Invalid \\"):
        return at_end and len(rest) <= _ESCAPE_LENGTH
    return at_end and any(word.startswith(rest) for word in _WORDS)
