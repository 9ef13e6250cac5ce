"""Keeps secrets out: only references to them may stand in a configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ftctl.errors import ConfigError

TOKEN_KEY = "other.hf_token"
TOKEN_VARIABLE = "HF_TOKEN"

# ${oc.env:NAME} with no default, or an empty one: a default would be a literal in disguise.
_FROM_ENV = re.compile(r"\$\{oc\.env:\s*(?P<name>\w+)\s*(,\s*(null|''|\"\")\s*)?\}")
_FROM_SECRET = re.compile(r"secret:[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[\w.-]+")
_ANY_ENV = re.compile(r"\$\{\s*oc\.env:\s*(\w+)")
_SECRET_NAME = re.compile(r"token|secret|password|passwd|api_?key|access_?key|credential", re.I)
_TOKEN_TEXT = re.compile(r"\b(hf|sk|ghp|gho|glpat|xoxb)[_-][A-Za-z0-9_-]{3,}|\bAKIA[A-Z0-9]{12,}")
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)")
_ASSIGNED = re.compile(
    r"(?P<key>[\w.]*(?:token|secret|password|passwd|api_?key|access_?key)[\w.]*\s*[=:]\s*)(?P<value>.+)",
    re.I | re.S,
)
HIDDEN = "***"


def redact(text: str) -> str:
    """`text` with everything that looks like a token, key or password replaced by `***`."""

    def hide(match: re.Match[str]) -> str:
        value = match["value"].strip()
        if value in ("", "null", HIDDEN) or _is_reference(value):
            return match[0]
        return match["key"] + HIDDEN

    text = _ASSIGNED.sub(hide, text)
    return _URL_PASSWORD.sub(HIDDEN, _TOKEN_TEXT.sub(HIDDEN, text))


def token_reference(raw: object, *, where: str | None) -> str | None:
    """
    Check the uninterpolated value of `other.hf_token`; return the reference, or None.

    Raises:
        ConfigError: it is a literal. The message does not show it.
    """
    if raw is None or raw in ("", "None"):
        return None
    if isinstance(raw, str) and _is_reference(raw):
        return raw.strip()
    raise ConfigError(
        f"{TOKEN_KEY} holds a literal value; a token never stands in a configuration",
        where=where,
        hint=f"Export {TOKEN_VARIABLE} and write `{TOKEN_KEY}: ${{oc.env:{TOKEN_VARIABLE},null}}`, "
        "or name a Kubernetes Secret: `secret:NAME/KEY`. Revoke a token that was written down.",
    )


def secrets_in(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """
    Yield (key, reason) for each value that holds, or would be filled with, a secret.

    Args:
        raw: the composed configuration before interpolation, as nested mappings.
    """
    for key, value in _leaves(raw):
        if key == TOKEN_KEY or not isinstance(value, str):
            continue
        variables = [name for name in _ANY_ENV.findall(value) if _SECRET_NAME.search(name)]
        if variables:
            yield key, f"would be filled with the secret in ${variables[0]}"
        elif _URL_PASSWORD.search(value):
            yield key, "has a password in its address"
        elif _TOKEN_TEXT.search(value):
            yield key, "looks like a token"
        elif key.startswith("cluster.env.") and _SECRET_NAME.search(key) and value:
            yield key, "is a secret by its name"


def hub_token(reference: str | None = None) -> str | None:
    """The model hub's token, read from the environment now; None where there is none."""
    found = _FROM_ENV.fullmatch(reference) if reference else None
    return os.environ.get(found["name"] if found else TOKEN_VARIABLE) or None


def _is_reference(text: str) -> bool:
    stripped = text.strip().strip("'\"")
    return bool(_FROM_ENV.fullmatch(stripped) or _FROM_SECRET.fullmatch(stripped))


def _leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(values, list):
        for value in values:
            yield from _leaves(value, prefix)
    else:
        yield prefix, values
