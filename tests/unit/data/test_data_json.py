"""JSON documents and JSONL: places of rows, limits, and what is said of text that is neither."""

import io
import json

import pytest

from ftctl.data.raw import ROW_LIMIT_BYTES, RawFile, Source
from ftctl.data.read import read
from ftctl.errors import DataError


def read_bytes(data: bytes | str, name: str = "rows.json") -> RawFile:
    body = data.encode() if isinstance(data, str) else data
    return read(Source(name, lambda: io.BytesIO(body)))


def places(file: RawFile) -> list[tuple[int, object]]:
    return [(row.place.number, row.value) for row in file.rows]


@pytest.mark.parametrize(
    ("text", "name", "want"),
    [
        pytest.param(
            '[\n{"a": 1},\n\n{"a": 2}]', "x.json", [(2, {"a": 1}), (4, {"a": 2})], id="list"
        ),
        pytest.param('{"examples":\n[{"a": 1}]}', "x.json", [(2, {"a": 1})], id="examples-list"),
        pytest.param(
            '{"examples": {"k":\n{"a": 1}}}', "x.json", [(2, {"a": 1})], id="examples-map"
        ),
        pytest.param(
            '{"a": 1}\n\n{"a": 2}\n', "x.jsonl", [(1, {"a": 1}), (3, {"a": 2})], id="jsonl"
        ),
        pytest.param(
            '{"a": 1}\r\n{"a": 2}', "x.json", [(1, {"a": 1}), (2, {"a": 2})], id="jsonl-by-content"
        ),
        pytest.param('[\n{"a": 1}\n]', "x.jsonl", [(2, {"a": 1})], id="list-named-jsonl"),
        pytest.param('{"a": 1}', "rows", [], id="one-object-is-a-document"),
    ],
)
def test_rows_have_the_line_they_begin_on(
    text: str, name: str, want: list[tuple[int, object]]
) -> None:
    if not want:
        with pytest.raises(DataError, match='no "examples" with a list or a map of rows'):
            read_bytes(text, name)
        return
    assert places(read_bytes(text, name)) == want


def test_keys_beside_the_rows_are_the_header_wherever_they_stand() -> None:
    file = read_bytes('{"a": [1], "examples": {"k": {"b": 2}}, "system": "S"}')
    assert file.header == {"a": [1], "system": "S"}
    assert [row.key for row in file.rows] == ["k"]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        pytest.param(
            '[{"a": 1},\n {"b": "tex',
            "x.json:2",
            "stops in the middle, at column 8",
            id="in-a-string",
        ),
        pytest.param(
            '[{"a": 1},\n {"b": 2',
            "x.json:2",
            "stops in the middle, at column 9",
            id="in-an-object",
        ),
        pytest.param(
            '[{"a": 1},', "x.json:1", "stops in the middle, at column 11", id="after-a-comma"
        ),
        pytest.param('[{"a": tru', "x.json:1", "stops in the middle, at column 8", id="in-a-word"),
        pytest.param('[{"a": "\\u04', "x.json:1", "stops in the middle", id="in-an-escape"),
        pytest.param(
            '{"examples": {"k": {"a": 1}',
            "x.json:1",
            "stops in the middle, at column 28",
            id="in-the-map",
        ),
        pytest.param(
            '[{"a": 1}\n{"a": 2}]',
            "x.json:2",
            "no JSON at column 1: expected ',' or ']'",
            id="no-comma",
        ),
        pytest.param(
            "[{'a': 1}, 2]",
            "x.json:1",
            "no JSON at column 3: expecting property name",
            id="single-quotes",
        ),
        pytest.param(
            '[{"a": 1},]',
            "x.json:1",
            "no JSON at column 11: expecting value",
            id="comma-at-the-end",
        ),
        pytest.param(
            '[{"a": 1}] tail',
            "x.json:1",
            "no JSON at column 12: text after the end",
            id="text-after",
        ),
        pytest.param(
            '{"examples": [], 5}', "x.json:1", "expected a key in double quotes", id="no-key"
        ),
        pytest.param("[" * 200_000, "x.json:1", "nested too deeply", id="nested"),
        pytest.param(
            "[" + "9" * 5000 + "]", "x.json:1", "a number has too many digits", id="digits"
        ),
    ],
)
def test_text_that_is_no_json_is_refused_with_its_place(text: str, where: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes(text, "x.json")
    assert caught.value.where == where
    assert what in caught.value.what
    assert ("seems cut" in caught.value.what) == ("stops in the middle" in caught.value.what)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        pytest.param('"text"', "the file holds a text, no rows", id="text"),
        pytest.param("17", "the file holds a number, no rows", id="number"),
        pytest.param('{"rows": [], "b": 1}', "keys found: rows, b", id="other-key"),
        pytest.param("{}", "keys found: none", id="empty-object"),
        pytest.param("[]", "the data set is empty: no rows", id="empty-list"),
        pytest.param('{"examples": {}}', "the data set is empty: no rows", id="empty-map"),
        pytest.param("", "the file is empty", id="no-bytes"),
        pytest.param(" \n", "the file is empty", id="blank"),
    ],
)
def test_a_document_without_rows_is_refused(text: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes(text)
    assert what in caught.value.what
    assert caught.value.where == "rows.json"


def test_bad_lines_of_jsonl_are_problems_and_the_others_rows() -> None:
    file = read_bytes(b'{"a": 1}\n{"a": \n{"a" 2}\n{"a": "\xff"}\n{"a": 3}\n{"a": "x', "x.jsonl")
    assert places(file) == [(1, {"a": 1}), (5, {"a": 3})]
    assert [(problem.place.number, problem.reason) for problem in file.problems] == [
        (2, "the JSON stops in the middle, at column 7: a row must stand in one line"),
        (3, "no JSON at column 6: expecting ':' delimiter"),
        (4, "invalid UTF-8: byte 0xff at offset 31"),
        (6, "the JSON stops in the middle, at column 7: the file seems cut"),
    ]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
def test_a_row_above_the_limit_is_a_problem_with_its_size(name: str) -> None:
    row = json.dumps({"a": "я" * (ROW_LIMIT_BYTES // 2)}, ensure_ascii=False)
    text = f'{row}\n{{"a": 2}}' if name.endswith("l") else f'[{row},\n{{"a": 2}}]'
    file = read_bytes(text, name)
    size = len(row.encode()) + (1 if name.endswith("l") else 0)
    assert places(file) == [(2, {"a": 2})]
    assert [problem.reason for problem in file.problems] == [
        f"the row has {size:,} bytes; the limit is 16,777,216 bytes (16 MiB) a row"
    ]


def test_a_row_of_100_mb_in_one_line_is_skipped_without_being_kept() -> None:
    import tracemalloc

    body = b'{"a": "' + b"x" * 100_000_000 + b'"}\n{"a": 2}\n'
    tracemalloc.start()
    file = read(Source("big.jsonl", lambda: io.BytesIO(body)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert places(file) == [(2, {"a": 2})]
    assert [str(problem) for problem in file.problems] == [
        "big.jsonl:1: the row has 100,000,010 bytes; the limit is 16,777,216 bytes (16 MiB) a row"
    ]
    assert peak_bytes < 4 * ROW_LIMIT_BYTES


def test_a_place_in_the_file_counts_a_row_that_was_skipped() -> None:
    long = b'{"a": "' + b"x" * (ROW_LIMIT_BYTES + 10) + b'"}\n'
    file = read_bytes(long + b'{"a": "\xff"}\n', "x.jsonl")
    assert file.problems[1].reason == f"invalid UTF-8: byte 0xff at offset {len(long) + 7:,}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param('[\n{"a": 1, "b": 0, "a": 2},\n{"a": 3}]', "x.json", id="list"),
        pytest.param(
            '{"examples": {"k":\n{"x": {"a": 1, "a": 2}}, "m":\n{"a": 3}}}', "x.json", id="map"
        ),
        pytest.param('\n{"x": [{"a": 1, "a": 1}]}\n{"a": 3}', "x.jsonl", id="jsonl"),
        pytest.param('\n{"a": 1, "a": 2}\n{"a": 3}', "x.json", id="jsonl-by-content"),
    ],
)
def test_a_row_with_a_key_twice_is_a_bad_row_and_the_next_is_read(text: str, name: str) -> None:
    file = read_bytes(text, name)
    assert places(file) == [(3, {"a": 3})]
    assert [(found.place.number, found.reason) for found in file.problems] == [
        (2, 'the key "a" stands twice')
    ]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        pytest.param(
            '{"system": "S",\n"system": "T", "examples": []}',
            "rows.json:2",
            'the key "system" stands twice, at column 11',
            id="header",
        ),
        pytest.param(
            '{"examples": [{"a": 1}],\n"examples": {"k": {"a": 2}}}',
            "rows.json:2",
            'the key "examples" stands twice, at column 13',
            id="rows",
        ),
        pytest.param(
            '{"examples": [{"a": 1}],\n"about": {"x": 1, "x": 2}}',
            "rows.json:2",
            'the key "x" stands twice, at column 10',
            id="inside-the-header",
        ),
    ],
)
def test_a_key_twice_beside_the_rows_is_refused(text: str, where: str, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read_bytes(text)
    assert (caught.value.where, caught.value.what) == (where, what)
    assert caught.value.hint == "Keep one of them."
