"""Bytes to text: UTF-8, with or without a byte order mark, and nothing else."""

from __future__ import annotations

import codecs

from ftctl.errors import DataError

# UTF-32 little-endian begins like UTF-16 little-endian; for the reader they are the same mistake.
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONVERT = "Save it as UTF-8: iconv -f {from_} -t UTF-8 OLD > NEW."


def without_mark(start: bytes, name: str) -> bytes:
    """
    Drop a UTF-8 byte order mark from the start of a file.

    Raises:
        DataError: the file is UTF-16, with a mark or, for text that begins in ASCII, without.
    """
    if start.startswith(_UTF16_MARKS) or b"\0" in start[:2]:
        raise DataError(
            "the file is UTF-16, and only UTF-8 is read",
            where=name,
            hint=_CONVERT.format(from_="UTF-16"),
        )
    return start.removeprefix(codecs.BOM_UTF8)


def decode(data: bytes, name: str) -> str:
    """
    Decode a whole file.

    Raises:
        DataError: it is not UTF-8; says the byte, its offset and its line.
    """
    body = without_mark(data, name)
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = len(data) - len(body) + error.start
        line = body.count(b"\n", 0, error.start) + 1
        raise DataError(
            not_utf8(error, offset),
            where=f"{name}:{line}",
            hint=_CONVERT.format(from_="ENCODING"),
        ) from error


def not_utf8(error: UnicodeDecodeError, offset: int) -> str:
    """Say which byte is not UTF-8; `offset` counts from the start of the file."""
    return f"invalid UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset:,}"
