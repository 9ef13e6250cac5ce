"""What ends a run for good: a stage that sees a tombstone ends at once, until resume clears it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.contract.status import Stored, now
from ftctl.storage.base import NotFoundError, Store

Kind = Literal["cancelled", "failed"]
# A run can have both: it failed, and then somebody cancelled it. The person's word comes first.
_KINDS: tuple[Kind, ...] = ("cancelled", "failed")


class Tombstone(Stored):
    """Why nothing more is to be done for a run."""

    kind: Kind
    reason: str = ""
    time: datetime | None = None


def write_tombstone(store: Store, run: RunLayout, kind: Kind, reason: str) -> None:
    """End a run; `reason` is shown to whoever asks. It must hold no secret."""
    content = Tombstone(kind=kind, reason=reason, time=now())
    store.write(_key(run, kind), content.model_dump_json().encode())


def find_tombstone(store: Store, run: RunLayout) -> Tombstone | None:
    """Return what ended a run, or None. An empty file, made by hand, counts too."""
    for kind in _KINDS:
        try:
            content = store.read(_key(run, kind))
        except NotFoundError:
            continue
        try:
            return Tombstone.model_validate_json(content)
        except ValidationError:
            return Tombstone(kind=kind)
    return None


def clear_tombstones(store: Store, run: RunLayout) -> None:
    """Let a run go on."""
    for kind in _KINDS:
        store.delete(_key(run, kind))


def _key(run: RunLayout, kind: Kind) -> str:
    return run.cancelled if kind == "cancelled" else run.failed
