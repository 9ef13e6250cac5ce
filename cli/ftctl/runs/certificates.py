"""The certificates of private authorities, read for pods to trust."""

from __future__ import annotations

from pathlib import Path

from ftctl.contract.paths import expanded
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

_BEGIN = "-----BEGIN CERTIFICATE-----"


def read_certificates(config: Config, base_dir: Path) -> str | None:
    """
    The text of cluster.ca_bundle and storage.ca_bundle together; None where neither is set.

    Raises:
        ConfigError: a file cannot be read, has no certificate, or has a private key beside it.
    """
    files = {
        "cluster.ca_bundle": config.cluster.ca_bundle,
        "storage.ca_bundle": config.storage.ca_bundle,
    }
    texts = [_read(base_dir / expanded(name, key), key) for key, name in files.items() if name]
    return "".join(dict.fromkeys(texts)) or None


def _read(path: Path, key: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"{path} cannot be read: {reason}",
            where=key,
            hint="Give a PEM file with the authority's certificates.",
        ) from error
    if _BEGIN not in text:
        raise ConfigError(
            f"{path} has no certificate",
            where=key,
            hint=f"Give a PEM file; each certificate in it starts with {_BEGIN}.",
        )
    if "PRIVATE KEY" in text:
        raise ConfigError(
            f"{path} has a private key beside its certificates",
            where=key,
            hint="Pods get the file as it is: give one that has certificates only.",
        )
    return text if text.endswith("\n") else f"{text}\n"
