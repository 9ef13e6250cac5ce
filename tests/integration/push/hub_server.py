"""
A model hub in memory, as far as pushing goes: what huggingface_hub's own client asks of one.

Repositories, upload modes, the LFS batch API with plain uploads, and commits in NDJSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.http_server import QuietHandler, served

TOKEN = "hub-token-of-the-tests"


@dataclass
class Hub:
    """What the hub has, and how it answers."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by repository: OWNER/NAME, datasets/OWNER/NAME."""
    private: dict[str, bool] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """Their messages, in order."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Uploaded contents by sha256; they outlive a commit that was never made."""
    uploads: list[str] = field(default_factory=list)
    """sha256 of every content that was sent."""
    may_write: bool = True
    may_commit: bool = True
    address: str = ""
    licences: dict[str, str] = field(default_factory=dict)


@contextmanager
def hub_server(hub: Hub) -> Iterator[str]:
    """The address of a hub, which is gone afterwards."""
    with served(type("Handler", (_Handler,), {"hub": hub})) as port:
        hub.address = f"http://127.0.0.1:{port}"
        yield hub.address


class _Handler(QuietHandler):
    hub: Hub

    def do_GET(self) -> None:
        """Describe a repository: /api/models/OWNER/NAME, with or without a revision."""
        kind, owner, name = urlsplit(self.path).path.split("/")[2:5]
        repository = f"{owner}/{name}" if kind == "models" else f"{kind}/{owner}/{name}"
        if repository not in self.hub.repositories:
            self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
            return
        card = {"license": self.hub.licences.get(repository)}
        about = {"id": repository, "sha": self._commit(), "cardData": card, "siblings": []}
        self._answer(200, {**about, "private": self.hub.private.get(repository, False)})

    def do_POST(self) -> None:
        """Everything else that is asked."""
        body, path = self._read(), urlsplit(self.path).path
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/validate-yaml":
            self._answer(200, {"warnings": [], "errors": []})
        elif not self.hub.may_write:
            self._answer(403, {"error": "You don't have the rights"})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        else:
            _, _, _, owner, name, what, _ = path.split("/")
            repository = f"{owner}/{name}"
            if what == "preupload":
                self._preupload(repository, json.loads(body))
            elif not self.hub.may_commit:
                self._answer(400, {"error": "the disk is full"})
            else:
                self._commit_files(repository, [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        """Take a large file."""
        content = self._read()
        digest = hashlib.sha256(content).hexdigest()
        assert self.path.endswith(digest)
        self.hub.large[digest] = content
        self.hub.uploads.append(digest)
        self._answer(200, {})

    def _create(self, asked: dict[str, Any]) -> None:
        repository = f"{asked['organization']}/{asked['name']}"
        self.hub.repositories.setdefault(repository, {})
        self.hub.private[repository] = asked["visibility"] == "private"
        self._answer(200, {"url": f"{self.hub.address}/{repository}"})

    def _preupload(self, repository: str, asked: dict[str, Any]) -> None:
        known = self.hub.repositories[repository]
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".gguf") else "regular",
                "shouldIgnore": False,
                "oid": _oid(file["path"], known.get(file["path"])),
            }
            for file in asked["files"]
        ]
        self._answer(200, {"files": files})

    def _batch(self, asked: dict[str, Any]) -> None:
        objects: list[dict[str, Any]] = []
        for wanted in asked["objects"]:
            found = dict(wanted)
            if wanted["oid"] not in self.hub.large:
                upload = {"href": f"{self.hub.address}/upload/{wanted['oid']}", "header": {}}
                found["actions"] = {"upload": upload}
            objects.append(found)
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit_files(self, repository: str, lines: list[dict[str, Any]]) -> None:
        files = self.hub.repositories[repository]
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.commits.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile"
                files[value["path"]] = self.hub.large[value["oid"]]
        url = f"{self.hub.address}/{repository}/commit/{self._commit()}"
        self._answer(200, {"commitUrl": url, "commitOid": self._commit()})

    def _commit(self) -> str:
        return f"{len(self.hub.commits):040x}"

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: dict[str, Any], code: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(content)


def _oid(path: str, content: bytes | None) -> str | None:
    """As the hub names a content: of large files their sha256, of others as git does."""
    if content is None:
        return None
    if path.endswith(".gguf"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
