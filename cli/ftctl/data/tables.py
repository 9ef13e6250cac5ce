"""Reads CSV and Parquet: a row is a map of column to value."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from ftctl.data.problems import Place, Problem
from ftctl.data.raw import ROW_LIMIT_BYTES, RawFile, RawRow, too_large
from ftctl.errors import DataError

_DELIMITERS = (",", ";", "\t")


def read_csv(text: str, name: str, stem: str) -> RawFile:
    """
    Read CSV with a header line; the delimiter (comma, semicolon, tab) is the header's commonest.

    Empty cells are left out, as a missing key is in JSON. Places are the lines rows begin on.

    Raises:
        DataError: quotes that do not close, a cell above the limit, two columns of one name.
    """
    file = RawFile(name, stem)
    before = csv.field_size_limit(ROW_LIMIT_BYTES)
    try:
        _fill(file, text)
    finally:
        csv.field_size_limit(before)
    return file


def _fill(file: RawFile, text: str) -> None:
    lines = _records(file.name, text)
    first = next(lines, None)
    if first is None:
        return
    columns = [column.strip() for column in first[1]]
    if len(set(columns)) < len(columns):
        raise DataError(
            f"two columns have one name: {', '.join(columns)}", where=f"{file.name}:{first[0]}"
        )
    for line, cells in lines:
        place = Place(file.name, line)
        if len(cells) != len(columns):
            reason = f"{len(cells)} cells, and the header has {len(columns)} columns"
            file.problems.append(Problem(place, reason))
            continue
        value = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
        file.rows.append(RawRow(place, value))


def _records(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for cells in reader:
            if cells:
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"no CSV: {error}",
            where=f"{name}:{begin}",
            hint="A cell with line breaks or delimiters stands in double quotes, "
            f"which are doubled inside it; it has at most {ROW_LIMIT_BYTES // 2**20} MiB.",
        ) from error


def read_parquet(stream: BinaryIO, name: str, stem: str) -> RawFile:
    """
    Read Parquet; places are row numbers. Nulls are left out, as a missing key is in JSON.

    Raises:
        DataError: the file is no Parquet, or is damaged.
    """
    import pyarrow as pa  # 0.2 s and 30 MB: only for those who have such files
    from pyarrow import parquet

    file = RawFile(name, stem)
    try:
        for batch in parquet.ParquetFile(stream).iter_batches(batch_size=1024):
            for value in batch.to_pylist():
                _add_parquet_row(file, value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"no Parquet: {error}", where=name, hint="Write the file again; it seems damaged."
        ) from error
    return file


def _add_parquet_row(file: RawFile, value: dict[str, Any]) -> None:
    place = Place(file.name, len(file.rows) + len(file.problems) + 1, "row")
    size = sum(len(cell) for cell in value.values() if isinstance(cell, str | bytes))
    if size > ROW_LIMIT_BYTES:
        file.problems.append(Problem(place, too_large(size)))
    else:
        known = {column: cell for column, cell in value.items() if cell is not None}
        file.rows.append(RawRow(place, known))
