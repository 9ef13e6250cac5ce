"""A model hub that serves one model to huggingface_hub's own client, by range, with faults."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.http_server import QuietHandler, served

COMMIT = "c0ffee" + "0" * 34
LARGE = ".safetensors"


@dataclass
class Hub:
    """A model at one commit, and how it is served."""

    name: str
    folder: Path
    ranges: bool = True
    faults: tuple[str, ...] = ()
    """What meets the first requests for each range: an HTTP status, `cut` or `silent`."""
    damaged: bool = False
    token: str = ""
    """Who has none is told that there is no such model."""
    hashes: bool = True
    """Whether weights are of the kind that the hub keeps a sha256 of."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """File and range of every request for weights."""

    def tree(self) -> list[dict[str, Any]]:
        """All files, as the API lists them."""
        return [self.entry(path) for path in sorted(self.folder.iterdir())]

    def entry(self, path: Path) -> dict[str, Any]:
        """One of them."""
        return _entry(path, hashed=self.hashes and path.name.endswith(LARGE))


def _entry(path: Path, *, hashed: bool) -> dict[str, Any]:
    content = path.read_bytes()
    found: dict[str, Any] = {
        "type": "file",
        "path": path.name,
        "size": len(content),
        "oid": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
    }
    if hashed:
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return found


@contextmanager
def readable_hub(hub: Hub) -> Iterator[str]:
    """The address of a hub, which is gone afterwards."""
    kind = type("Handler", (_Handler,), {"hub": hub, "tries": Counter()})
    with served(kind) as port:
        yield f"http://127.0.0.1:{port}"


class _Handler(QuietHandler):
    hub: Hub
    tries: Counter[tuple[str, str]]

    def do_GET(self) -> None:
        """The API's two descriptions of a model, and its files."""
        path = urlsplit(self.path).path
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._answer(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif path == f"/api/models/{self.hub.name}/revision/{COMMIT}":
            self._json(self._about())
        elif path == f"/api/models/{self.hub.name}/tree/{COMMIT}":
            self._json(self.hub.tree())
        elif path.startswith(f"/{self.hub.name}/resolve/{COMMIT}/"):
            self._file(path.rpartition("/")[2])
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET

    def _about(self) -> dict[str, Any]:
        siblings = []
        for file in self.hub.tree():
            lfs = file.get("lfs")
            kept = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": 134} if lfs else None
            siblings.append({"rfilename": file["path"], "size": file["size"], "lfs": kept})
        return {"id": self.hub.name, "sha": COMMIT, "siblings": siblings}

    def _file(self, name: str) -> None:
        path = self.hub.folder / name
        if not path.is_file():
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content, asked = path.read_bytes(), self.headers.get("Range", "")
        entry = self.hub.entry(path)
        headers = {"X-Repo-Commit": COMMIT, "ETag": entry.get("lfs", entry)["oid"]}
        if self.command == "GET" and name.endswith(LARGE):
            self.hub.asked.append((name, asked))
            if self.hub.damaged:
                content = bytes([content[0], *(byte ^ 1 for byte in content[1:9])]) + content[9:]
            if self._fails(name, asked, content):
                return
        if asked and self.hub.ranges:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
            assert found, asked
            start, last = int(found[1]), int(found[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
            self._answer(206, content[start : last + 1], headers)
        else:
            self._answer(200, content, headers)

    def _fails(self, name: str, asked: str, content: bytes) -> bool:
        number = self.tries[name, asked]
        self.tries[name, asked] += 1
        if number >= len(self.hub.faults):
            return False
        fault = self.hub.faults[number]
        if fault == "silent":  # for longer than a client waits
            self.rfile.read(1)
            self.close_connection = True
        elif fault == "cut":
            self.send_response(206)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:100])
            self.close_connection = True
        else:
            self._answer(int(fault), b"")
        return True

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
