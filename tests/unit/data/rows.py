"""Rows as a file has them, read as a run reads them."""

import io
import json
from typing import Any

from ftctl.data.raw import Source
from ftctl.data.rows import FileRows, read_examples

ASK = {"History": ["user: hi"], "AvailableActions": ["Open"], "UserInput": "open up"}
ANSWER = {"MessageText": "ok", "Content": {"Action": "Open"}}


def read_rows(rows: Any, format_name: str = "auto", name: str = "x.json") -> FileRows:
    """Read rows, or the text of a file, as a file of this name."""
    body = (rows if isinstance(rows, str) else json.dumps(rows)).encode()
    return read_examples(Source(name, lambda: io.BytesIO(body)), format_name)
