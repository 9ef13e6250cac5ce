"""The configuration as a report may show it: what was changed, and the whole, without secrets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ftctl.contract.spec import Config

# user:password@ in front of a host, as in a proxy's URL.
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
HIDDEN = "(not shown)"


@dataclass(frozen=True)
class Setting:
    """A key that is not at its default, both values as compact JSON."""

    key: str
    value: str
    default: str


def changed_settings(config: Config) -> list[Setting]:
    """The keys whose values differ from the defaults, in the order of the reference."""
    defaults = _flat(shown_config(Config()))
    values = _flat(shown_config(config))
    return [
        Setting(key, _text(value), _text(defaults[key]) if key in defaults else "")
        for key, value in values.items()
        if defaults.get(key) != value or key not in defaults
    ]


def config_text(config: Config) -> str:
    """The whole configuration as YAML."""
    import yaml

    dumped: str = yaml.safe_dump(shown_config(config), sort_keys=False, allow_unicode=True)
    return dumped


def shown_config(config: Config) -> dict[str, Any]:
    """The configuration as plain values: no token, no value of an environment variable."""
    values = config.model_dump(mode="json")
    values["other"].pop("hf_token", None)
    values["cluster"]["env"] = dict.fromkeys(values["cluster"]["env"], HIDDEN)
    masked: dict[str, Any] = _masked(values)
    return masked


def flat_settings(config: Config) -> dict[str, str]:
    """Every key with its value as compact JSON, in the order of the reference."""
    return {key: _text(value) for key, value in _flat(shown_config(config)).items()}


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return _CREDENTIALS.sub("***@", value) if isinstance(value, str) else value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        elif value != {}:
            found[f"{prefix}{key}"] = value
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
