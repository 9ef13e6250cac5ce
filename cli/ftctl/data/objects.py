"""The part of a store that data sets need; both kinds of store have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from ftctl.contract.operational import StorageConfig


class Listed(Protocol):
    """An object in a listing."""

    @property
    def key(self) -> str:
        """Key below the store's prefix."""


class ObjectStore(Protocol):
    """Objects by key; see ftctl.storage.base.Store, which is one."""

    url: str

    def read(self, key: str) -> bytes:
        """Return an object."""

    def write(self, key: str, data: bytes) -> object:
        """Write an object whole."""

    def stat(self, key: str) -> object | None:
        """Describe an object, or return None."""

    def list(self, prefix: str = "") -> Iterator[Listed]:
        """Yield objects whose key starts with `prefix`, in key order."""


# Opens another place of the same object store: data may lie in another bucket than the runs.
OpenStore = Callable[[StorageConfig], ObjectStore]
