"""The list of runs: one small record a run, and nothing else is read for a list."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from pydantic import ValidationError

from ftctl.contract.layout import INDEX, RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import IndexRecord, Stage, State, now
from ftctl.errors import StorageError
from ftctl.storage.base import NotFoundError, ObjectInfo, Store
from ftctl.storage.index_pack import STALE, Packed, read_pack, write_pack
from ftctl.storage.parallel import each

_log = logging.getLogger(__name__)


def write_index(store: Store, record: IndexRecord) -> None:
    """Write a run's record, over the one before: its key stays, as `created` does."""
    created_ms = round(record.created.timestamp() * 1000)
    key = RunLayout(record.run_id).index(created_ms)
    store.write(key, record.model_dump_json().encode())


def mark_run(
    store: Store,
    run: RunFile,
    state: State,
    stage: Stage | None = None,
    *,
    unless: Sequence[State] = (),
) -> None:
    """
    Set the state of a run's record where no stage can: it has not started, or was ended.

    Args:
        unless: states that say more, and are left.
    """
    if run.created is None:
        return  # Made by a version that did not keep it; its stages have their own record.
    present = _record(store, run)
    if present.state in unless:
        return
    update = {"state": state, "updated": now(), **({"stage": stage} if stage else {})}
    write_index(store, present.model_copy(update=update))


def list_runs(store: Store, limit: int | None = None) -> list[IndexRecord]:
    """Return the records of the runs, newest first; a damaged one is left out and logged."""
    listed = list(store.list(INDEX, limit=limit))
    packed = read_pack(store) if len(listed) > STALE else {}
    stale = [info for info in listed if not _is_fresh(packed.get(info.key), info)]
    read = dict(zip((info.key for info in stale), each(partial(_read, store), stale), strict=True))
    found = {info.key: read.get(info.key, packed.get(info.key)) for info in listed}
    whole = {key: one for key, one in found.items() if one}
    if len(stale) > STALE and limit is None:
        write_pack(store, whole)
    return [one.record for one in whole.values()]


def keep_packed(store: Store) -> None:
    """
    Pack the index once many records are newer than the pack, so that no list has to read them.

    For the end of a stage that was not stopped; what fails here is the next one's to do.
    """
    try:
        list_runs(store)
    except StorageError as error:
        _log.debug("the index was not looked at: %s", error)


def _is_fresh(packed: Packed | None, info: ObjectInfo) -> bool:
    return packed is not None and packed.etag == info.etag


def _read(store: Store, info: ObjectInfo) -> Packed | None:
    try:
        data, etag = store.read_tagged(info.key)
        return Packed(etag=etag, record=IndexRecord.model_validate_json(data))
    except NotFoundError:
        # Removed since it was listed.
        return None
    except ValidationError:
        _log.warning("%s/%s is no record of a run; left out", store.url, info.key)
        return None


def _record(store: Store, run: RunFile) -> IndexRecord:
    """The run's record, or the one that it begins with."""
    assert run.created is not None
    key = RunLayout(run.run_id).index(round(run.created.timestamp() * 1000))
    try:
        return IndexRecord.model_validate_json(store.read(key))
    except (NotFoundError, ValidationError):
        return IndexRecord(
            run_id=run.run_id,
            name=run.run_id.rpartition("-")[0],
            created=run.created,
            state="pending",
            stage="train",
            model=run.model.name,
            method=run.config.training.method,
            updated=run.created,
        )
