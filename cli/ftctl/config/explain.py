"""What `ftctl config explain` and `ftctl config groups` say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftctl.config import legacy, schema
from ftctl.config.composition import Composition
from ftctl.config.nearest import nearest_key
from ftctl.config.problems import shown
from ftctl.config.tree import Tree
from ftctl.errors import ConfigError


@dataclass(frozen=True)
class Explanation:
    """A key or section: its meaning, and what can be set."""

    key: str
    rows: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.rows), default=0) + 1
        lines = [self.key, *(f"  {name + ':':{width}} {text}" for name, text in self.rows)]
        if self.keys:
            key_width = max(len(name) for name, _ in self.keys)
            lines += ["", *(f"  {name:{key_width}}  {text}".rstrip() for name, text in self.keys)]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "key": self.key,
            **dict(self.rows),
            **({"keys": dict(self.keys)} if self.keys else {}),
        }


def explanation(name: str, composition: Composition) -> Explanation:
    """
    Explain a key, a section or a group.

    Raises:
        ConfigError: there is none of this name; names the nearest.
    """
    groups = composition.tree.groups()
    key = schema.keys().get(name)
    if key is None and name in groups:
        return Explanation(
            name, (("choices", ", ".join(groups[name])), ("example", _choose(name, groups)))
        )
    if key is None:
        raise _unknown(name, groups)
    if key.is_section:
        return _section(key, groups)
    rows = [
        ("meaning", key.description),
        ("allowed", key.allowed),
        ("default", _default(key)),
        *(("set by", line) for line in _set_by(name, composition)),
        ("example", f"{name}={_example(key)}"),
    ]
    return Explanation(name, tuple(rows))


def described_groups(tree: Tree) -> dict[str, dict[str, str]]:
    """Group to choice to the first comment line of its file, package headers aside."""
    return {
        group: {choice: _first_comment(path) for choice, path in choices.items()}
        for group, choices in tree.groups().items()
    }


def part(values: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted key. Raises ConfigError, with the nearest key, if there is none."""
    node: Any = values
    for each in name.split("."):
        if not isinstance(node, Mapping) or each not in node:
            raise _unknown(name, {})
        node = node[each]
    return node


def _section(key: schema.Key, groups: Mapping[str, Mapping[str, Path]]) -> Explanation:
    prefix = f"{key.path}."
    below = tuple(
        (path, each.description)
        for path, each in schema.keys().items()
        if path.startswith(prefix) and not each.is_section
    )
    rows = [("meaning", key.description)]
    if key.path in groups:
        rows += [("choices", ", ".join(groups[key.path])), ("example", _choose(key.path, groups))]
    return Explanation(key.path, tuple(rows), below)


def _choose(group: str, groups: Mapping[str, Mapping[str, Path]]) -> str:
    return f"{group}={list(groups[group])[-1]}"


def _set_by(name: str, composition: Composition) -> list[str]:
    layers = composition.sources.setting(name)
    lines = [f"{layer.origin} ({shown(layer.value(name)[1])})" for layer in layers]
    return [", then ".join(lines)] if lines else []


def _default(key: schema.Key) -> str:
    return json.dumps(key.default, ensure_ascii=False, default=str)


def _example(key: schema.Key) -> str:
    if isinstance(key.default, bool):
        return str(not key.default).lower()
    if isinstance(key.default, list):
        return f"[{','.join(map(str, key.default[:2])) or 'A,B'}]"
    return "VALUE" if key.default is None or key.default == {} else str(key.default)


def _unknown(name: str, groups: Mapping[str, Any]) -> ConfigError:
    reason = legacy.replaced(name)
    if reason:
        return ConfigError("this key has no meaning here", where=name, hint=reason)
    close = nearest_key(name, [*schema.keys(), *groups])
    return ConfigError(
        "there is no such key",
        where=name,
        hint=f"Did you mean {close}?" if close else "`ftctl config show` lists the keys.",
    )


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if not line.startswith("#"):
                return ""
            text = line.lstrip("# ").strip()
            if text and not text.startswith("@package"):
                return text
    return ""
