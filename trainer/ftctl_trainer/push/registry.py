"""
A registry, as much of it as pushing needs: blobs and manifests of one repository.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Files are sent as they are
read: the clients at hand hold a whole blob in memory, and a GGUF has gigabytes.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from ftctl.contract.ocireference import OciReference
from ftctl.contract.pods import REGISTRY_PASSWORD, REGISTRY_USER
from ftctl.errors import StorageError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
# Of any manifest that a tag may stand for; what a registry names first it need not have.
_MANIFEST_TYPES = (
    MANIFEST_TYPE,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# A registry hashes a large blob before it answers.
_TIMEOUT_S = 600
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

Opener = Callable[[], BinaryIO]


def registry_login(host: str) -> str | None:
    """
    `user:password` in base64, as HTTP's Basic has it: of the environment, else of `docker login`.

    OCI_USERNAME and OCI_PASSWORD win; then the file of docker and its kin.
    """
    user, password = os.environ.get(REGISTRY_USER), os.environ.get(REGISTRY_PASSWORD)
    if user and password:
        return base64.b64encode(f"{user}:{password}".encode()).decode()
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    file = Path(os.environ.get("REGISTRY_AUTH_FILE") or Path(folder) / "config.json")
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["auths"][host]["auth"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(known)


@dataclass
class Registry:
    """One repository of a registry."""

    reference: OciReference
    login: str | None
    _authorization: str | None = field(default=None, init=False)

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there."""
        return self._send("HEAD", self._url(f"blobs/{digest}"), missing_ok=True) is not None

    def push_blob(self, digest: str, size: int, content: Opener) -> None:
        """
        Send a blob.

        Raises:
            StorageError: no access, or the registry does not answer or take it.
        """
        begun = self._send("POST", self._url("blobs/uploads/"))
        assert begun is not None
        place = urljoin(self._url("blobs/uploads/"), begun.headers["Location"])
        url = f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
        self._send("PUT", url, content, {"Content-Length": str(size)})

    def manifest_type(self, tag: str) -> str | None:
        """What a tag stands for: its artifact type, else its media type; None: there is no such."""
        found = self._send(
            "GET", self._url(f"manifests/{tag}"), None, {"Accept": ", ".join(_MANIFEST_TYPES)},
            missing_ok=True,
        )  # fmt: skip
        if found is None:
            return None
        try:
            content = json.loads(found.body)
        except ValueError:
            content = {}
        return str(content.get("artifactType") or content.get("mediaType") or "unknown")

    def push_manifest(self, tag: str, body: bytes) -> None:
        """Name what was pushed. Raises StorageError."""
        headers = {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(body))}
        self._send("PUT", self._url(f"manifests/{tag}"), lambda: io.BytesIO(body), headers)

    def _url(self, rest: str) -> str:
        return f"{self.reference.url}/v2/{self.reference.path}/{rest}"

    def _send(
        self,
        method: str,
        url: str,
        content: Opener | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        missing_ok: bool = False,
    ) -> _Answer | None:
        """Ask, after a login where one is wanted; None for 404 where that is an answer."""
        answer = self._once(method, url, content, headers or {})
        if answer.status == 401:
            self._authorize(answer.headers.get("WWW-Authenticate", ""))
            answer = self._once(method, url, content, headers or {})
        if answer.status == 404 and missing_ok:
            return None
        if answer.status >= 300:
            raise self._refused(answer)
        return answer

    def _once(
        self, method: str, url: str, content: Opener | None, headers: Mapping[str, str]
    ) -> _Answer:
        sent = {"Content-Type": "application/octet-stream", **headers}
        data = b"" if method == "POST" else None
        with content() if content else nullcontext(data) as stream:
            request = urllib.request.Request(url, stream, sent, method=method)
            # An upload may go to another host, as what is redirected: its address is its own
            # permission, and the login is none of its business.
            if self._authorization and urlsplit(url).netloc == self.reference.host:
                request.add_unredirected_header("Authorization", self._authorization)
            return self._answer(request)

    def _answer(self, request: urllib.request.Request) -> _Answer:
        with self._unreachable():
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                    return _Answer(response.status, response.headers, response.read())
            except urllib.error.HTTPError as error:
                return _Answer(error.code, error.headers, error.read())

    def _authorize(self, challenge: str) -> None:
        """Follow WWW-Authenticate: https://distribution.github.io/distribution/spec/auth/token/."""
        scheme, _, rest = challenge.partition(" ")
        basic = {"Authorization": f"Basic {self.login}"} if self.login else {}
        if scheme.lower() != "bearer":
            self._authorization = basic.get("Authorization")
            return
        asked = dict(_PARAMETER.findall(rest))
        query = {"scope": f"repository:{self.reference.path}:pull,push"}
        if "service" in asked:
            query["service"] = asked["service"]
        url = f"{asked.get('realm', '')}?{urlencode(query)}"
        if not url.startswith(("http://", "https://")):
            raise self._error(f"the registry's login is not understood: {challenge}")
        answer = self._answer(urllib.request.Request(url, headers=basic))
        if answer.status >= 300:
            raise self._refused(answer)
        token = json.loads(answer.body)
        self._authorization = f"Bearer {token.get('token') or token.get('access_token')}"

    def _refused(self, answer: _Answer) -> StorageError:
        if answer.status == 401 and self.login is None:
            return self._error("the registry wants a login, and there is none", _LOGIN)
        if answer.status == 401:
            return self._error("the registry does not take this login", _LOGIN)
        if answer.status == 403:
            hint = "Give it the right to push, or name another place: publish.oci."
            return self._error(f"this login may not push there{answer.said}", hint)
        if answer.status in (404, 405):
            hint = "Make the repository at the registry, or name another place: publish.oci."
            return self._error(f"the registry takes nothing there{answer.said}", hint)
        hint = "A resumed run pushes what is missing."
        return self._error(f"the registry answered {answer.status}{answer.said}", hint)

    def _error(self, what: str, hint: str | None = None) -> StorageError:
        place = f"{self.reference.host}/{self.reference.path}"
        return StorageError(what, where=f"publish.oci={place}", hint=hint)

    @contextmanager
    def _unreachable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # URLError is one
            reason = getattr(error, "reason", None) or error
            raise self._error(
                f"the registry does not answer: {reason}",
                "Check the address, the network and the proxy; a registry without TLS needs "
                "http:// before its name. A resumed run pushes what is missing.",
            ) from error


_LOGIN = (
    f"Export {REGISTRY_USER} and {REGISTRY_PASSWORD}, or use `docker login`; in a cluster name a "
    "Secret with them: publish.secret=NAME."
)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def said(self) -> str:
        """The registry's own words, in brackets, where it has some."""
        try:
            text = json.loads(self.body)["errors"][0]
            words = " ".join(str(text.get("message") or text.get("code") or "").split())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return ""
        return f" ({words[:200]})" if words else ""
