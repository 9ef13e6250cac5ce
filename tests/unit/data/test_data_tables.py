"""CSV and Parquet rows, with their places."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from ftctl.data.raw import ROW_LIMIT_BYTES, RawFile, Source
from ftctl.data.read import read
from ftctl.errors import DataError


def read_bytes(body: bytes, name: str) -> RawFile:
    return read(Source(name, lambda: io.BytesIO(body)))


@pytest.fixture
def parquet() -> Callable[[list[dict[str, Any]]], bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    def write(rows: list[dict[str, Any]]) -> bytes:
        sink = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), sink)
        return sink.getvalue()

    return write


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param('q,a\n"one\ntwo",1\nthree,\n', "x.csv", id="comma"),
        pytest.param('q;a\n"one\ntwo";1\nthree;\n', "x.csv", id="semicolon"),
        pytest.param('q\ta\n"one\ntwo"\t1\nthree\t\n', "x.tsv", id="tab"),
    ],
)
def test_csv_rows_have_the_line_they_begin_on_and_no_empty_cells(text: str, name: str) -> None:
    file = read_bytes(text.encode(), name)
    assert [(row.place.number, row.value) for row in file.rows] == [
        (2, {"q": "one\ntwo", "a": "1"}),
        (4, {"q": "three"}),
    ]


def test_a_csv_row_of_another_width_is_a_problem() -> None:
    file = read_bytes(b"q,a\n1,2\n1,2,3\n", "x.csv")
    assert [str(problem) for problem in file.problems] == [
        "x.csv:3: 3 cells, and the header has 2 columns"
    ]


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        pytest.param(b'q,a\n1,"2\n', "x.csv:2", "no CSV: unexpected end of data", id="open-quote"),
        pytest.param(b"q,q\n1,2\n", "x.csv:1", "two columns have one name: q, q", id="twice"),
        pytest.param(
            b"q\n" + b"x" * (ROW_LIMIT_BYTES + 1),
            "x.csv:2",
            "no CSV: field larger than field limit (16777216)",
            id="large-cell",
        ),
    ],
)
def test_csv_that_cannot_be_read_is_refused(body: bytes, where: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes(body, "x.csv")
    assert (caught.value.where, caught.value.what) == (where, what)


def test_a_csv_with_a_header_alone_is_empty() -> None:
    with pytest.raises(DataError, match="the data set is empty: no rows"):
        read_bytes(b"q,a\n", "x.csv")


@pytest.mark.parametrize("name", ["x.parquet", "x.data"])
def test_parquet_rows_are_numbered_and_have_no_nulls(
    name: str, parquet: Callable[[list[dict[str, Any]]], bytes]
) -> None:
    body = parquet([{"q": "a", "l": ["b"]}, {"q": "c", "l": None}])
    file = read_bytes(body, name)
    assert [(str(row.place), row.value) for row in file.rows] == [
        (f"{name} row 1", {"q": "a", "l": ["b"]}),
        (f"{name} row 2", {"q": "c"}),
    ]


def test_a_parquet_row_above_the_limit_is_a_problem(
    parquet: Callable[[list[dict[str, Any]]], bytes],
) -> None:
    body = parquet([{"q": "x" * (ROW_LIMIT_BYTES + 1)}, {"q": "c"}])
    file = read_bytes(body, "x.parquet")
    assert [(row.place.number, row.value) for row in file.rows] == [(2, {"q": "c"})]
    assert [problem.place.number for problem in file.problems] == [1]


def test_damaged_parquet_is_refused(parquet: Callable[[list[dict[str, Any]]], bytes]) -> None:
    body = parquet([{"q": "a"}])[:-9]
    with pytest.raises(DataError, match=r"x\.parquet: no Parquet: "):
        read_bytes(body, "x.parquet")


def test_a_file_of_no_known_kind_is_refused_with_the_kinds_there_are() -> None:
    with pytest.raises(DataError, match="does not say what it is: it begins 'hello'") as caught:
        read_bytes(b"hello", "notes.txt")
    assert caught.value.hint == "Files read: .json, .jsonl, .csv, .tsv, .parquet."
