"""Reads any data file: by its name, and where the name says too little, by its content."""

from __future__ import annotations

from ftctl.data.encoding import decode, without_mark
from ftctl.data.json_file import begins_several, read_json
from ftctl.data.jsonl import read_jsonl
from ftctl.data.raw import RawFile, Source
from ftctl.data.tables import read_csv, read_parquet
from ftctl.errors import DataError

_PARQUET_MAGIC = b"PAR1"
_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")


def read(source: Source) -> RawFile:
    """
    Read all rows of a file; rows that do not parse are among its problems.

    Raises:
        DataError: the file is empty, not UTF-8, no JSON, cut, or has no rows at all.
    """
    try:
        file = _read(source)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=source.name) from error
    if file.is_empty:
        raise DataError("the data set is empty: no rows", where=source.name)
    return file


def _read(source: Source) -> RawFile:
    name, stem = source.name, source.stem
    with source.open() as stream:
        start = stream.read(len(_PARQUET_MAGIC))
        stream.seek(0)
        if not start:
            raise DataError("the file is empty", where=name)
        if source.suffix == ".parquet" or start == _PARQUET_MAGIC:
            return read_parquet(stream, name, stem)
        if source.suffix in _LINES and not without_mark(start, name).startswith(b"["):
            return read_jsonl(stream, name, stem)
        text = decode(stream.read(), name)
        if not text.strip():
            raise DataError("the file is empty", where=name)
        if source.suffix in _TABLES or text.lstrip()[0] not in "[{":
            return _table_or_refuse(source, text)
        if begins_several(text):
            stream.seek(0)
            return read_jsonl(stream, name, stem)
    return read_json(text, name, stem)


def _table_or_refuse(source: Source, text: str) -> RawFile:
    if source.suffix in _TABLES:
        return read_csv(text, source.name, source.stem)
    if source.suffix == ".json":
        return read_json(text, source.name, source.stem)
    raise DataError(
        f"the file is no JSON, and its name does not say what it is: it begins {text[:20]!r}",
        where=source.name,
        hint="Files read: .json, .jsonl, .csv, .tsv, .parquet.",
    )
