"""What the configuration's models say of each key: type, limits, default, meaning."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ftctl.contract import qtypes
from ftctl.contract.spec import Config

_TYPES = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "null": "null",
    "object": "a mapping",
}
# A validator's rule, which the JSON schema does not know.
_ALLOWED = {
    "model.qtype": f"one of {', '.join(qtypes.FTYPES)}, or a list of them",
    "other.hf_token": "${oc.env:NAME,null}, secret:NAME/KEY, or null; never a literal",
}


@dataclass(frozen=True)
class Key:
    """One key of the configuration. `is_open`: a mapping whose own keys are the user's."""

    path: str
    description: str
    default: Any
    is_section: bool = False
    is_open: bool = False

    @property
    def allowed(self) -> str:
        """What its value may be, in words."""
        return _ALLOWED.get(self.path) or _in_words(_node(self.path))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a whole configuration, for editors."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@functools.cache
def keys() -> dict[str, Key]:
    """Every key and section by its dotted path, in the order of the models."""
    return {key.path: key for key in _walk(Config, "")}


def leaf_paths() -> list[str]:
    """Dotted paths of all keys that are no sections."""
    return [path for path, key in keys().items() if not key.is_section]


def find(path: str) -> Key | None:
    """The key at `path`, or the open mapping that `path` lies in; None where there is neither."""
    known = keys()
    if path in known:
        return known[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        key = known.get(".".join(parts[:length]))
        if key:
            return key if key.is_open else None
    return None


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        path = prefix + name
        section = field.annotation
        description = field.description or ""
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield Key(path, description, None, is_section=True)
            yield from _walk(section, f"{path}.")
        else:
            default = field.get_default(call_default_factory=True)
            yield Key(path, description, default, is_open=_is_mapping(section))


def _is_mapping(annotation: Any) -> bool:
    options = (annotation, *get_args(annotation))
    return any(get_origin(option) is dict and bool(get_args(option)) for option in options)


@functools.cache
def _schema() -> dict[str, Any]:
    return Config.model_json_schema()


def _node(path: str) -> dict[str, Any]:
    node = _schema()
    for name in path.split("."):
        node = _resolved(node).get("properties", {}).get(name, {})
    return node


def _resolved(node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference:
        found: dict[str, Any] = _schema()["$defs"][reference.rpartition("/")[2]]
        return found
    return node


def _in_words(node: dict[str, Any]) -> str:
    node = _resolved(node)
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_in_words(option) for option in node["anyOf"]))
    if "const" in node:
        return str(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(str(value) for value in node["enum"])
    if node.get("type") == "array":
        least = " (at least one)" if node.get("minItems") else ""
        return f"a list of {_in_words(node.get('items', {}))}{least}"
    return _TYPES.get(str(node.get("type")), "a value") + _limits(node)


def _limits(node: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    limits = [
        f"{word} {node[name]:g}" if abs(node[name]) < 1e6 else f"{word} {node[name]}"
        for name, word in words.items()
        if name in node
    ]
    if node.get("examples"):
        limits.append(f"such as {', '.join(node['examples'])}")
    if node.get("minLength"):
        limits.append("not empty")
    return f", {' and '.join(limits)}" if limits else ""
