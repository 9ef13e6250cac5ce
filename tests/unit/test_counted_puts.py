"""The count of what is put, which an end-to-end test believes."""

from __future__ import annotations

import pytest

from tests.e2e.cluster.puts import Puts

WHOLE = b"PUT /b/whole HTTP/1.1\r\nHost: s3\r\n\r\nbody"
BEGUN = b"POST /b/parts?uploads HTTP/1.1\r\n\r\n"
PART = b"PUT /b/parts?partNumber=1&uploadId=x HTTP/1.1\r\n\r\nbody"
COMPLETED = b"POST /b/parts?uploadId=x HTTP/1.1\r\n\r\n<xml/>"
READ = b"GET /b/whole HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["bytes", "pieces", "one-block"])
def test_an_object_counts_once_it_is_whole(size: int) -> None:
    puts = Puts()
    sent = WHOLE + READ + BEGUN + PART + COMPLETED + WHOLE
    for start in range(0, len(sent), size):
        puts.see(0, sent[start : start + size])
    assert puts.counts == {"b/whole": 2, "b/parts": 1}


def test_connections_are_kept_apart() -> None:
    puts = Puts()
    for number in (0, 1):
        puts.see(number, WHOLE[:10])
    for number in (1, 0):
        puts.see(number, WHOLE[10:])
    assert puts.counts == {"b/whole": 2}
