"""UTF-8 and only UTF-8, with or without a byte order mark."""

import io

import pytest

from ftctl.data.raw import Source
from ftctl.data.read import read
from ftctl.errors import DataError

JSON = '[{"a": "я"}]'
LINES = '{"a": "я"}\n'


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(JSON.encode("utf-8-sig"), "x.json", id="json"),
        pytest.param(LINES.encode("utf-8-sig"), "x.jsonl", id="jsonl"),
        pytest.param("a\nя\n".encode("utf-8-sig"), "x.csv", id="csv"),
    ],
)
def test_a_byte_order_mark_is_accepted(body: bytes, name: str) -> None:
    file = read(Source(name, lambda: io.BytesIO(body)))
    assert [row.value for row in file.rows] == [{"a": "я"}]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_with_the_command_that_converts_it(name: str, encoding: str) -> None:
    body = LINES.encode(encoding)
    with pytest.raises(DataError, match="the file is UTF-16, and only UTF-8 is read") as caught:
        read(Source(name, lambda: io.BytesIO(body)))
    assert caught.value.where == name
    assert caught.value.hint == "Save it as UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW."


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_that_is_not_utf_8_is_named_with_offset_and_line(mark: bytes) -> None:
    body = mark + b'[{"a": 1},\n {"a": "\xcf\xf0"}]'
    with pytest.raises(DataError) as caught:
        read(Source("x.json", lambda: io.BytesIO(body)))
    assert caught.value.what == f"invalid UTF-8: byte 0xcf at offset {len(mark) + 19}"
    assert caught.value.where == "x.json:2"
