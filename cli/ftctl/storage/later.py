"""A bucket known by its URL, for those who may never use it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from ftctl.contract.operational import StorageConfig
from ftctl.storage.base import ObjectInfo, Store
from ftctl.storage.open import open_store, s3_place


class LaterStore:
    """
    The store at an s3:// URL, opened at its first use: the client alone takes 0.3 s to import.

    It has what data sets and base models are read by.
    """

    def __init__(self, config: StorageConfig) -> None:
        """Raises ConfigError: `config.url` names no bucket."""
        bucket, prefix = s3_place(config.url or "")
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._config = config

    def read(self, key: str) -> bytes:
        """Return an object."""
        return self._store.read(key)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes of an object from `start`."""
        return self._store.read_range(key, start, length)

    def write(self, key: str, data: bytes) -> str:
        """Write an object whole."""
        return self._store.write(key, data)

    def stat(self, key: str) -> ObjectInfo | None:
        """Describe an object, or return None."""
        return self._store.stat(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield objects whose key starts with `prefix`, in key order."""
        return self._store.list(prefix)

    @cached_property
    def _store(self) -> Store:
        return open_store(self._config)
