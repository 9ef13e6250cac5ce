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
# `tokens` are counted, not kept secret.
_SECRET_NAME = re.compile(
    r"token(?!s|i)|secret|password|passwd|api_?key|access_?key|credential", re.IGNORECASE
)
# Keys that name a Kubernetes Secret, and hold none.
_NAMES_OF_SECRETS = (
    "storage.secret",
    "tracking.secret",
    "publish.secret",
    "cluster.hf_secret",
    "cluster.image_pull_secrets",
)
# Tokens of the model hub and others by their prefix; a folder named `hf_something/` is none.
_TOKEN_TEXT = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}+(?![/.])|(?:sk-|ghp_|glpat-|xoxb-)[\w-]{16,}|AKIA[A-Z0-9]{12,})"
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)")
HIDDEN = "***"


def redact(text: str) -> str:
    """`text` with everything that has the form of a token or an address's password hidden."""
    return _URL_PASSWORD.sub(HIDDEN, _TOKEN_TEXT.sub(HIDDEN, text))


def redact_override(text: str) -> str:
    """The same for `key=value`; whatever a secret's key is given is hidden too."""
    key, equals, value = text.partition("=")
    plain = key.lstrip("+~") in _NAMES_OF_SECRETS or not _SECRET_NAME.search(key)
    if plain or value in ("", "null") or _is_reference(value):
        return redact(text)
    return f"{key}{equals}{HIDDEN}"


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


def use_hub_token(reference: str | None) -> None:
    """
    Make the variable that `other.hf_token` refers to this process's HF_TOKEN.

    The hub's library and the stages that are started here read that one. Without a reference to a
    variable, or where it is empty, HF_TOKEN stays what it is.
    """
    found = _FROM_ENV.fullmatch(reference) if reference else None
    if found and (token := os.environ.get(found["name"])):
        os.environ[TOKEN_VARIABLE] = token


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
