"""A place in an OCI registry, as people write it: HOST[:PORT]/PATH[:TAG]."""

from __future__ import annotations

import re
from dataclasses import dataclass

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<scheme>https?://|oci://)?(?P<host>[A-Za-z0-9.-]+(?::\d+)?)/"
    rf"(?P<path>{_NAME}(?:/{_NAME})*)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}))?"
)


@dataclass(frozen=True)
class OciReference:
    """A repository of a registry, and a tag; None where none was named."""

    scheme: str
    host: str
    path: str
    tag: str | None

    @property
    def url(self) -> str:
        """The registry as a URL."""
        return f"{self.scheme}://{self.host}"

    def tagged(self, tag: str) -> str:
        """The reference as programs take it, with this tag where it has none."""
        return f"{self.host}/{self.path}:{self.tag or tag}"


def oci_reference(text: str) -> OciReference:
    """Read a reference. Raises ValueError."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no place in a registry; write HOST/PATH or HOST/PATH:TAG, the path in "
            "lower case, with http:// before it for a registry without TLS"
        )
    plain = found["scheme"] == "http://"
    return OciReference("http" if plain else "https", found["host"], found["path"], found["tag"])
