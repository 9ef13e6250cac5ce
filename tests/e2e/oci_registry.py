"""
A registry for OCI artifacts, in memory.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.http_server import QuietHandler, served

_TOKEN = "for-some-minutes"
_PLACE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests)/(?P<reference>.*)")


@dataclass
class Behaviour:
    """How a registry answers, and what it was asked."""

    login: str | None = None
    """`user:password` that is asked for, by a token; None: it is open."""
    refuse: dict[tuple[str, str], int] = field(default_factory=dict)
    """Status that a method and the end of a path are answered with."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Methods and paths, in order, logins left out."""


@contextmanager
def registry(behaviour: Behaviour | None = None) -> Iterator[str]:
    """`HOST:PORT` of a registry that is empty, and gone afterwards."""
    contents: dict[str, tuple[str, bytes]] = {}
    known = {"contents": contents, "behaviour": behaviour or Behaviour()}
    handler = type("Handler", (_Handler,), known)
    with served(handler) as port:
        yield f"127.0.0.1:{port}"


class _Handler(QuietHandler):
    """Keeps type and content by path."""

    contents: dict[str, tuple[str, bytes]]
    behaviour: Behaviour

    def do_HEAD(self) -> None:
        if not self._turned_away():
            self._answer_with(urlsplit(self.path).path, body=False)

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/token":
            self._give_token()
        elif not self._turned_away():
            self._answer_with(urlsplit(self.path).path, body=True)

    def do_POST(self) -> None:
        """Begin an upload."""
        self._read()
        if self._turned_away():
            return
        self._answer(202, {"Location": f"{urlsplit(self.path).path}1"})

    def do_PUT(self) -> None:
        """End an upload, or name a manifest."""
        url, data = urlsplit(self.path), self._read()
        if self._turned_away():
            return
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        found = _PLACE.fullmatch(url.path)
        assert found is not None
        if found["kind"] == "blobs":
            assert parse_qs(url.query)["digest"] == [digest]
        kind = self.headers.get("Content-Type", "application/octet-stream")
        root = f"/v2/{found['name']}/{found['kind']}"
        for reference in (digest, found["reference"]):
            self.contents[f"{root}/{reference}"] = (kind, data)
        self._answer(201, {"Location": f"{root}/{digest}", "Docker-Content-Digest": digest})

    def _turned_away(self) -> bool:
        """Whether the request was answered: it has no token, or is one of those to be refused."""
        path, wanted = urlsplit(self.path).path, self.behaviour
        if wanted.login and self.headers.get("Authorization") != f"Bearer {_TOKEN}":
            realm = f"http://{self.headers['Host']}/token"
            challenge = f'Bearer realm="{realm}",service="registry",scope="ignored"'
            self._answer(401, {"WWW-Authenticate": challenge})
            return True
        wanted.seen.append((self.command, path))
        for (method, end), status in wanted.refuse.items():
            if self.command == method and path.endswith(end):
                said = b'{"errors": [{"code": "DENIED", "message": "not for you"}]}'
                self._answer(status, {"Content-Length": str(len(said))})
                self.wfile.write(said)
                return True
        return False

    def _give_token(self) -> None:
        wanted = base64.b64encode(str(self.behaviour.login).encode()).decode()
        [scope] = parse_qs(urlsplit(self.path).query)["scope"]
        if self.headers.get("Authorization") != f"Basic {wanted}" or not scope.endswith(
            ":pull,push"
        ):
            self._answer(401, {})
            return
        body = f'{{"token": "{_TOKEN}"}}'.encode()
        self._answer(200, {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer_with(self, path: str, *, body: bool) -> None:
        if path == "/v2/":
            self._answer(200, {})
            return
        if path not in self.contents:
            self._answer(404, {})
            return
        kind, data = self.contents[path]
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        head = {"Content-Type": kind, "Docker-Content-Digest": digest}
        self._answer(200, {**head, "Content-Length": str(len(data))})
        if body:
            self.wfile.write(data)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
