"""Where a run is, and what its cluster said of attempts that failed."""

from __future__ import annotations

from pydantic import ValidationError

from ftctl.contract.layout import RunLayout
from ftctl.contract.placement import FailureRecord, Placement
from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError, NotFoundError, Store


def write_placement(store: Store, run_id: str, placement: Placement) -> None:
    """Say where the run is now."""
    store.write(RunLayout(run_id).placement, placement.model_dump_json(indent=2).encode())


def read_placement(store: Store, run_id: str) -> Placement | None:
    """Return where the run is, or None: it is no cluster's, or was never submitted."""
    key = RunLayout(run_id).placement
    try:
        return Placement.model_validate_json(store.read(key))
    except NotFoundError:
        return None
    except ValidationError as error:
        raise StorageError(
            "this does not say where a run is",
            where=f"{store.url}/{key}",
            hint="Delete it and submit the run again, which finds what is there.",
        ) from error


def clear_placement(store: Store, run_id: str) -> None:
    """The run is in no cluster any more."""
    store.delete(RunLayout(run_id).placement)


def write_failure(store: Store, run_id: str, record: FailureRecord) -> bool:
    """Keep what is known of a failed attempt, once; return whether it is new."""
    key = RunLayout(run_id).failure(record.pod or record.job)
    try:
        store.write(key, record.model_dump_json(indent=2).encode(), if_absent=True)
    except ConflictError:
        return False
    return True


def failure_names(store: Store, run_id: str) -> set[str]:
    """The pods and Jobs of which something is kept."""
    prefix = RunLayout(run_id).failures
    return {item.key.removeprefix(prefix).removesuffix(".json") for item in store.list(prefix)}


def read_failures(store: Store, run_id: str) -> list[FailureRecord]:
    """What is kept of failed attempts, in their order; damaged records are left out."""
    found = []
    for item in store.list(RunLayout(run_id).failures):
        try:
            found.append(FailureRecord.model_validate_json(store.read(item.key)))
        except (NotFoundError, ValidationError):
            continue
    return sorted(found, key=lambda record: record.time)
