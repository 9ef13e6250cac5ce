"""Reads JSONL line by line, with bounded memory however long a line is."""

from __future__ import annotations

from typing import BinaryIO

from ftctl.data.encoding import not_utf8, without_mark
from ftctl.data.json_text import JsonError, RepeatedKeyError, parse
from ftctl.data.problems import Place, Problem
from ftctl.data.raw import ROW_LIMIT_BYTES, RawFile, RawRow, too_large

_CHUNK_BYTES = 2**20


def read_jsonl(stream: BinaryIO, name: str, stem: str) -> RawFile:
    """
    Read one JSON value a line; empty lines are skipped, bad ones become problems.

    Raises:
        DataError: the file is UTF-16.
    """
    file = RawFile(name, stem)
    offset = 0
    number = 0
    while line := stream.readline(ROW_LIMIT_BYTES + 1):
        number += 1
        place = Place(name, number)
        size = len(line)
        if size > ROW_LIMIT_BYTES and not line.endswith(b"\n"):
            size += _skip_line(stream)
            file.problems.append(Problem(place, too_large(size)))
        else:
            _read_line(file, place, line, offset)
        offset += size
    return file


def _read_line(file: RawFile, place: Place, line: bytes, offset: int) -> None:
    body = without_mark(line, file.name) if offset == 0 else line
    try:
        text = body.decode("utf-8").rstrip("\r\n")
        if text.strip():
            file.rows.append(RawRow(place, parse(text)))
    except UnicodeDecodeError as error:
        at = offset + len(line) - len(body) + error.start
        file.problems.append(Problem(place, not_utf8(error, at)))
    except JsonError as error:
        file.problems.append(Problem(place, _reason(error, last=not line.endswith(b"\n"))))


def _reason(error: JsonError, *, last: bool) -> str:
    if isinstance(error, RepeatedKeyError):
        return error.reason
    column = error.position + 1
    if error.cut:
        what = "the file seems cut" if last else "a row must stand in one line"
        return f"the JSON stops in the middle, at column {column}: {what}"
    return f"no JSON at column {column}: {error.reason[:1].lower()}{error.reason[1:]}"


def _skip_line(stream: BinaryIO) -> int:
    """Read to the end of the line and forget it; return how many bytes that were."""
    skipped = 0
    while chunk := stream.readline(_CHUNK_BYTES):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped
