"""The certificates of private authorities that a configuration names, for the pods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftctl.contract.paths import expanded
from ftctl.errors import ConfigError

if TYPE_CHECKING:
    from ftctl.contract.spec import Config


def read_certificates(config: Config) -> str | None:
    """
    The text of cluster.ca_bundle, or else of storage.ca_bundle; None where neither is set.

    Raises:
        ConfigError: the file cannot be read, or holds no certificate.
    """
    for key, file in (
        ("cluster.ca_bundle", config.cluster.ca_bundle),
        ("storage.ca_bundle", config.storage.ca_bundle),
    ):
        if file:
            return _read(expanded(file, key), key)
    return None


def _read(path: Path, key: str) -> str:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", where=key) from error
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ConfigError(
            f"{path} holds no certificate in PEM form",
            where=key,
            hint="It must contain -----BEGIN CERTIFICATE-----.",
        )
    return text
