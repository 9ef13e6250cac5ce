"""Names for runs: small pointers, which commands take in place of a run id."""

from __future__ import annotations

from pydantic import ValidationError

from ftctl.contract.layout import alias_key
from ftctl.contract.status import now
from ftctl.contract.sweep import Alias, is_alias
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, Store


def read_alias(store: Store, name: str) -> Alias | None:
    """Return what a name points to, or None. Raises StorageError: the pointer is damaged."""
    if not is_alias(name):
        return None
    key = alias_key(name)
    try:
        return Alias.model_validate_json(store.read(key))
    except NotFoundError:
        return None
    except ValidationError as error:
        raise StorageError(
            "this does not say which run is meant",
            where=f"{store.url}/{key}",
            hint="Delete it; the sweep that wrote it writes it again.",
        ) from error


def point(store: Store, name: str, run_id: str, sweep_id: str | None) -> None:
    """Let a name mean a run, whatever it meant before; one that means it already is left."""
    present = read_alias(store, name)
    if present and present.run_id == run_id:
        return
    alias = Alias(run_id=run_id, sweep_id=sweep_id, time=now())
    store.write(alias_key(name), alias.model_dump_json().encode())
