"""Opens the store that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ftctl.contract.operational import StorageConfig
from ftctl.contract.paths import expanded
from ftctl.errors import ConfigError
from ftctl.storage.base import Store
from ftctl.storage.folder import FolderStore

_KEY = "storage.url"


def open_store(config: StorageConfig, *, default: str | None = None) -> Store:
    """
    Return the store at `storage.url`: a path, a file:// URL, or s3://bucket/prefix.

    Nothing is read or written yet, so a store that does not answer is found at its first use.

    Args:
        default: used where `storage.url` is null.
    Raises:
        ConfigError: no store is named, or its URL cannot be one.
        StorageError: `storage.profile`, `endpoint_url` or `ca_bundle` cannot be used.
    """
    url = config.url or default
    if not url:
        raise ConfigError("no store is named", where=_KEY, hint="Set storage.url.")
    scheme, separator, _ = url.partition("://")
    if not separator:
        if url.lower().startswith("s3:"):
            raise ConfigError(
                f"{url!r} is no S3 address", where=_KEY, hint="Write s3://bucket/prefix."
            )
        return FolderStore(expanded(url, _KEY))
    if scheme.lower() == "file":
        return FolderStore(_file_path(url))
    if scheme.lower() == "s3":
        return _s3_store(url, config)
    raise ConfigError(
        f"{url!r} is no store: {scheme}:// is not known",
        where=_KEY,
        hint="Give a folder, or s3://bucket/prefix (with storage.endpoint_url for other servers).",
    )


def s3_place(url: str) -> tuple[str, str]:
    """
    Bucket and prefix of an s3:// URL.

    Raises:
        ConfigError: it names no bucket, or holds a user or key.
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    if not bucket or "@" in bucket or ":" in bucket:
        raise ConfigError(
            "the URL names no bucket, or more than one"
            if "@" not in bucket
            else "the URL holds a user or key",
            where=_KEY,
            hint="Write s3://bucket/prefix; keys come from the environment or storage.profile.",
        )
    return bucket, prefix.strip("/")


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise ConfigError(
            f"{url!r} names no folder of this machine",
            where=_KEY,
            hint="Write three slashes: file:///data/runs.",
        )
    return Path(unquote(parts.path))


def _s3_store(url: str, config: StorageConfig) -> Store:
    # boto3 takes 0.3 s to import; a folder does without.
    from ftctl.storage.s3 import S3Store
    from ftctl.storage.s3_client import s3_client

    bucket, prefix = s3_place(url)
    client = s3_client(
        endpoint_url=config.endpoint_url,
        region=config.region,
        profile=config.profile,
        addressing=config.addressing,
        ca_bundle=config.ca_bundle,
    )
    return S3Store(client, bucket, prefix, sse=config.sse)
