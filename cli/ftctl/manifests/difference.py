"""What applying a rendering would change in a cluster."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ftctl.contract.yamltext import yaml_text
from ftctl.manifests.metadata import Manifest

What = Literal["create", "change", "same", "left over"]
SIGNS: dict[What, str] = {"create": "+", "change": "~", "same": "=", "left over": "-"}


@dataclass(frozen=True)
class Difference:
    """An object, and what becomes of it. `lines` is a unified diff, of changes only."""

    what: What
    kind: str
    namespace: str
    name: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{SIGNS[self.what]} {self.kind} {self.namespace}/{self.name}"
        return "\n".join([head, *(f"    {line}" for line in self.lines)])


def differences(rendered: Sequence[Manifest], live: Sequence[Manifest]) -> list[Difference]:
    """
    Compare what is rendered with the objects that a run has in its cluster.

    Fields that only the cluster has are left out: defaults, states, and what controllers add.

    Returns:
        One entry a rendered object, in their order, then what is there and not rendered.
    """
    there = {_key(body): body for body in live}
    found = [_difference(body, there.pop(_key(body), None)) for body in rendered]
    return [*found, *(Difference("left over", *key) for key in sorted(there))]


def _difference(body: Manifest, present: Manifest | None) -> Difference:
    key = _key(body)
    if present is None:
        return Difference("create", *key)
    before, after = (yaml_text(each).splitlines() for each in (_common(present, body), body))
    lines = list(difflib.unified_diff(before, after, "cluster", "rendered", lineterm="", n=2))
    return Difference("change" if lines else "same", *key, tuple(lines))


def _key(body: Manifest) -> tuple[str, str, str]:
    meta = body["metadata"]
    return body["kind"], meta.get("namespace", ""), meta["name"]


def _common(present: Any, wanted: Any) -> Any:
    """The part of `present` that `wanted` speaks of, in its order."""
    if isinstance(present, dict) and isinstance(wanted, dict):
        return {key: _common(present[key], wanted[key]) for key in wanted if key in present}
    if isinstance(present, list) and isinstance(wanted, list) and len(present) == len(wanted):
        return [_common(one, other) for one, other in zip(present, wanted, strict=True)]
    return present
