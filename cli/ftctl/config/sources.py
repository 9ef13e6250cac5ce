"""Where each value comes from: the files and overrides a configuration was composed of."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftctl.errors import ConfigError


@dataclass(frozen=True)
class Layer:
    """One file, or one override. Layers of equal rank do not outweigh each other."""

    origin: str
    rank: int
    values: Mapping[str, Any] = field(repr=False)

    def value(self, key: str) -> tuple[bool, Any]:
        """Whether this layer sets `key` (dotted), and to what."""
        node: Any = self.values
        for name in key.split("."):
            if not isinstance(node, Mapping) or name not in node:
                return False, None
            node = node[name]
        return True, node


@dataclass(frozen=True)
class Sources:
    """All layers, in the order in which they were laid over one another."""

    layers: tuple[Layer, ...]

    def setting(self, key: str) -> list[Layer]:
        """The layers that set `key` or a part of it; the last one wins."""
        return [layer for layer in self.layers if layer.value(key)[0]]

    def origin(self, key: str) -> str | None:
        """The file or override that has the last word on `key`, or on the section it is in."""
        while key:
            layers = self.setting(key)
            if layers:
                return layers[-1].origin
            key = key.rpartition(".")[0]
        return None


def nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b` and 1 as {"a": {"b": 1}}; an empty key gives the value itself."""
    for name in reversed(key.split(".") if key else []):
        value = {name: value}
    return value if isinstance(value, dict) else {}


def shown_path(path: Path) -> str:
    """A path as people would type it: relative where it lies below the working directory."""
    resolved = path.resolve()
    try:
        return str(resolved.relative_to(Path.cwd()))
    except ValueError:
        return str(resolved)


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Read a YAML file with a mapping, interpolations left as they are.

    Raises:
        ConfigError: it is missing, unreadable, no YAML (with its line), or no mapping.
    """
    import yaml
    from omegaconf import OmegaConf

    where = shown_path(path)
    try:
        # OmegaConf's own reader: it takes 1e-4 for a number, and refuses a key that stands twice.
        loaded = OmegaConf.load(io.StringIO(path.read_text(encoding="utf-8")))
        values = OmegaConf.to_container(loaded, resolve=False)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 text (byte {error.start})", where=where, hint="Save it as UTF-8."
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=where) from error
    except yaml.YAMLError as error:
        raise yaml_error(error, where) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(
            "holds no mapping of sections", where=where, hint="Write `section:` and keys below it."
        )
    return {str(name): value for name, value in values.items()}


def yaml_error(error: Exception, where: str) -> ConfigError:
    """A YAML syntax error with its line and column (both from 1)."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "not valid YAML"
    context = getattr(error, "context", None)
    if mark is not None:
        where = f"{where}:{mark.line + 1}:{mark.column + 1}"
    return ConfigError(
        f"not valid YAML: {problem}" + (f" {context}" if context else ""),
        where=where,
        hint="Look at this line and the one above: indentation, quotes, brackets, a missing colon.",
    )
