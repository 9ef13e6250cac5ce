"""Sweeps in the store: one record each, written under a condition, as several may work on it."""

from __future__ import annotations

from pydantic import ValidationError

from ftctl.contract.layout import SWEEPS, SweepLayout
from ftctl.contract.placement import Placement
from ftctl.contract.sweep import Child, Sweep, is_sweep_id
from ftctl.errors import StorageError, UsageError
from ftctl.storage.base import ConflictError, NotFoundError, Store


def register_sweep(store: Store, sweep: Sweep) -> Sweep:
    """
    Put a sweep into the store, or find it there: what it has recorded stays.

    Raises:
        StorageError: another sweep has the same 12 hex digits.
    """
    try:
        store.write(SweepLayout(sweep.sweep_id).record, _bytes(sweep), if_absent=True)
    except ConflictError:
        known = read_sweep(store, sweep.sweep_id)
        if known.content_hash != sweep.content_hash:
            raise StorageError(
                f"another sweep of this id has hash {known.content_hash}, "
                f"this one {sweep.content_hash}",
                where=f"{store.url}/{SweepLayout(sweep.sweep_id).record}",
                hint="Give this one another name: name=...",
            ) from None
        if known.alias == sweep.alias:
            return known
        return _replace(store, sweep.sweep_id, {"alias": sweep.alias})
    return sweep


def read_sweep(store: Store, sweep_id: str) -> Sweep:
    """Read a sweep. Raises NotFoundError: there is none; StorageError: it is damaged."""
    return _read(store, sweep_id)[0]


def add_child(store: Store, sweep: Sweep, child: Child) -> Sweep:
    """
    Record what a search has chosen.

    Raises:
        ConflictError: somebody else has chosen since `sweep` was read.
    """
    present, etag = _read(store, sweep.sweep_id)
    if len(present.children) != len(sweep.children):
        raise ConflictError(
            "this search goes on elsewhere too",
            where=f"{store.url}/{SweepLayout(sweep.sweep_id).record}",
            hint="Let one of the two end.",
        )
    grown = present.model_copy(update={"children": [*present.children, child]})
    store.write(SweepLayout(sweep.sweep_id).record, _bytes(grown), if_match=etag)
    return grown


def find_sweep(store: Store, text: str) -> Sweep:
    """Read the one sweep whose id is, or starts with, `text`. Raises UsageError: none, several."""
    if is_sweep_id(text):
        try:
            return read_sweep(store, text)
        except NotFoundError:
            pass
    known = [
        item.key.split("/")[1] for item in store.list(SWEEPS) if item.key.endswith("/sweep.json")
    ]
    found = [sweep_id for sweep_id in known if sweep_id.startswith(text)]
    if len(found) == 1:
        return read_sweep(store, found[0])
    if found:
        raise UsageError(
            f"{text!r} may be any of {len(found)} sweeps: {', '.join(found)}", where=store.url
        )
    told = f"there are: {', '.join(known)}" if known else "there are no sweeps in this store"
    raise UsageError(f"no sweep {text!r}; {told}", where=store.url)


def cancel_sweep(store: Store, sweep_id: str) -> None:
    """Let no more children be started."""
    store.write(SweepLayout(sweep_id).cancelled, b"")


def let_go_on(store: Store, sweep_id: str) -> None:
    """Take the cancellation back."""
    store.delete(SweepLayout(sweep_id).cancelled)


def is_cancelled(store: Store, sweep_id: str) -> bool:
    """Whether no more children are to be started."""
    return store.stat(SweepLayout(sweep_id).cancelled) is not None


def write_launcher(store: Store, sweep_id: str, placement: Placement) -> None:
    """Say in which cluster the sweep's launcher is."""
    store.write(SweepLayout(sweep_id).placement, placement.model_dump_json(indent=2).encode())


def read_launcher(store: Store, sweep_id: str) -> Placement | None:
    """Return where the sweep's launcher is, or None: it has none."""
    try:
        return Placement.model_validate_json(store.read(SweepLayout(sweep_id).placement))
    except NotFoundError:
        return None


def _replace(store: Store, sweep_id: str, update: dict[str, object]) -> Sweep:
    present, etag = _read(store, sweep_id)
    changed = present.model_copy(update=update)
    store.write(SweepLayout(sweep_id).record, _bytes(changed), if_match=etag)
    return changed


def _read(store: Store, sweep_id: str) -> tuple[Sweep, str]:
    key = SweepLayout(sweep_id).record
    data, etag = store.read_tagged(key)
    try:
        return Sweep.model_validate_json(data), etag
    except ValidationError as error:
        raise StorageError(
            "this is not the record of a sweep",
            where=f"{store.url}/{key}",
            hint="It was changed by hand, or written by a newer ftctl: update ftctl, or delete it "
            "and start the same sweep again, which finds its runs.",
        ) from error


def _bytes(sweep: Sweep) -> bytes:
    return sweep.model_dump_json(indent=1).encode()
