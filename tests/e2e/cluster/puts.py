"""Counts what is put into a store, by the requests that pass on their way to the server."""

from __future__ import annotations

import re
from collections import Counter

# Of a body that is no text, these bytes are not by chance.
_WRITE = re.compile(rb"(PUT|POST) /([^ ?]+)\??([^ ]*) HTTP/1\.1\r\n")
# The longest request line: a key of 1024 bytes, each escaped, and a query.
_LINE_BYTES = 4096


class Puts:
    """How often each object was put, by its path: whole, or by completing a multipart upload."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._rests: dict[int, bytes] = {}

    def see(self, connection: int, block: bytes) -> None:
        """Take in what a client sends; a request may begin in one block and end in the next."""
        text, end = self._rests.get(connection, b"") + block, 0
        for found in _WRITE.finditer(text):
            method, path, query = (group.decode() for group in found.groups())
            whole = method == "PUT" and "partNumber=" not in query
            completed = method == "POST" and "uploadId=" in query
            if whole or completed:
                self.counts[path] += 1
            end = found.end()
        self._rests[connection] = text[end:][-_LINE_BYTES:]
