"""Which pushes of a run are done."""

from __future__ import annotations

import hashlib

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import PublishConfig
from ftctl.contract.pushed import Push, Pushed, Target, wanted_targets
from ftctl.storage.base import NotFoundError, Store
from ftctl.storage.runs import read_run


def left_to_push(store: Store, run_id: str, publish: PublishConfig) -> dict[Target, str]:
    """The places that a published run is to be at, and where its files are not yet."""
    wanted = wanted_targets(publish)
    done = read_pushed(store, run_id) if wanted else Pushed()
    if not done.pushes:
        return wanted
    manifest = hashlib.sha256(store.read(RunLayout(run_id).manifest)).hexdigest()
    return {
        target: place for target, place in wanted.items() if not done.has(target, place, manifest)
    }


def is_finished(store: Store, run_id: str, publish: PublishConfig | None = None) -> bool:
    """
    Whether the run is published, and pushed to all places that are named.

    Args:
        publish: names them; None: the run as the store has it does.
    """
    if store.stat(RunLayout(run_id).success) is None:
        return False
    named = publish or read_run(store, run_id).config.publish
    return not left_to_push(store, run_id, named)


def read_pushed(store: Store, run_id: str) -> Pushed:
    """Read pushed.json; one that is missing or unreadable names nothing: pushing is repeatable."""
    try:
        return Pushed.model_validate_json(store.read(RunLayout(run_id).pushed))
    except (NotFoundError, ValidationError):
        return Pushed()


def record_push(store: Store, run_id: str, push: Push) -> None:
    """Write down that a push is done."""
    body = read_pushed(store, run_id).with_push(push).model_dump_json(indent=2)
    store.write(RunLayout(run_id).pushed, body.encode())
