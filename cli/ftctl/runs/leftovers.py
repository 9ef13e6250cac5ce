"""What runs that have ended keep in the store though nobody needs it any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ftctl.contract.layout import DATASETS, EVALUATIONS, INDEX, MODELS, RUNS, RunLayout, indexed_run
from ftctl.errors import RunFailedError
from ftctl.storage.alive import worked_on
from ftctl.storage.base import NotFoundError, ObjectInfo, Store, Unfinished
from ftctl.storage.parallel import each
from ftctl.storage.runs import read_run

Kind = Literal["checkpoints", "half-written", "dataset", "evaluation", "model", "run"]


@dataclass(frozen=True)
class Leftover:
    """
    Something that can go.

    Attributes:
        of: the run, or the digest, that it belongs to.
        keys: in the order in which they are removed.
        unfinished: writes that were broken off.
    """

    kind: Kind
    of: str
    size: int
    keys: tuple[str, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()

    @property
    def count(self) -> int:
        return len(self.keys) + len(self.unfinished)


def find_leftovers(store: Store, *, before: datetime, unreferenced: bool = False) -> list[Leftover]:
    """
    What can go without touching a result, or a run that may go on by itself.

    Args:
        before: only what ended, or was begun, before this time.
        unreferenced: data sets and base models that no run of the store uses, too.
    Raises:
        StorageError: the store, or with `unreferenced` a run's config, cannot be read.
    """
    runs = _by_run(store)
    ended = [
        run_id
        for run_id, objects in runs.items()
        if (end := _ended(run_id, objects)) and end < before
    ]
    found = [item for run_id in ended if (item := _checkpoints(run_id, runs[run_id]))]
    if found:
        held = each(lambda item: worked_on(store, item.of), found)
        found = [item for item, holder in zip(found, held, strict=True) if holder is None]
    found += _half_written(store, before)
    if unreferenced:
        found += _unreferenced(store, list(runs), before)
    return found


def whole_run(store: Store, run_id: str) -> Leftover:
    """
    Everything a run has in the store, its result and its place in the list too.

    Raises:
        RunFailedError: somebody works on it.
    """
    _refuse_worked_on(store, run_id)
    layout = RunLayout(run_id)
    objects = list(store.list(layout.root))
    listed = [item for item in store.list(INDEX) if indexed_run(item.key) == run_id]
    # The list first, and what says that the rest can be trusted; its lease last.
    first = {layout.success: 0, layout.lease: 2}
    objects.sort(key=lambda item: first.get(item.key, 1))
    every = [*listed, *objects]
    return Leftover("run", run_id, _size(every), tuple(item.key for item in every))


def remove(store: Store, leftover: Leftover) -> None:
    """
    Remove it; what is gone already is no error.

    Raises:
        RunFailedError: somebody has gone on with the run since.
        StorageError: the store refused.
    """
    if leftover.kind in ("checkpoints", "run"):
        _refuse_worked_on(store, leftover.of)
    for key in leftover.keys:
        store.delete(key)
    for write in leftover.unfinished:
        store.discard(write)


def _refuse_worked_on(store: Store, run_id: str) -> None:
    holder = worked_on(store, run_id)
    if holder is not None:
        raise RunFailedError(
            f"{holder} works on the run",
            where=run_id,
            hint=f"Stop it first: `ftctl cancel {run_id}`, or Ctrl-C where it runs.",
        )


def _by_run(store: Store) -> dict[str, list[ObjectInfo]]:
    found: dict[str, list[ObjectInfo]] = {}
    for item in store.list(RUNS):
        run_id = item.key.removeprefix(RUNS).partition("/")[0]
        found.setdefault(run_id, []).append(item)
    return found


def _ended(run_id: str, objects: Iterable[ObjectInfo]) -> datetime | None:
    """When a run came to its end; None while it may go on by itself."""
    layout = RunLayout(run_id)
    ends = (layout.success, layout.cancelled, layout.failed)
    return max((item.modified for item in objects if item.key in ends), default=None)


def _checkpoints(run_id: str, objects: Sequence[ObjectInfo]) -> Leftover | None:
    prefix = RunLayout(run_id).checkpoints
    mine = [item for item in objects if item.key.startswith(prefix)]
    # Markers first: half a checkpoint must never look whole.
    mine.sort(key=lambda item: not item.key.endswith("/_COMPLETE"))
    if not mine:
        return None
    return Leftover("checkpoints", run_id, _size(mine), tuple(item.key for item in mine))


def _half_written(store: Store, before: datetime) -> Iterator[Leftover]:
    """Writes that were broken off; those of a run that somebody works on may be going on."""
    by_owner: dict[str, list[Unfinished]] = {}
    for write in store.unfinished():
        if write.started < before:
            by_owner.setdefault(_owner(write.key), []).append(write)
    for owner, writes in by_owner.items():
        run_id = owner.removeprefix(RUNS)
        if owner.startswith(RUNS) and worked_on(store, run_id) is not None:
            continue
        size = sum(write.size for write in writes)
        yield Leftover("half-written", run_id, size, unfinished=tuple(writes))


def _owner(key: str) -> str:
    """`runs/ID`, `datasets/DIGEST`, or the first part of another key."""
    return "/".join(key.split("/")[:2]) if key.startswith((RUNS, DATASETS, MODELS)) else key


def _unreferenced(store: Store, runs: Sequence[str], before: datetime) -> Iterator[Leftover]:
    """Data sets, base models, and what these said to those, that no run of the store names."""

    def names(run_id: str) -> tuple[str, ...] | None:
        try:
            run = read_run(store, run_id)
        except NotFoundError:
            return None
        adapter = (run.init_adapter.revision,) if run.init_adapter else ()
        return run.data.digest, run.model.revision, *adapter

    used = {name for found in each(names, runs) if found for name in found}
    kinds: tuple[tuple[Kind, str], ...] = (
        ("dataset", DATASETS),
        ("evaluation", EVALUATIONS),
        ("model", MODELS),
    )
    for kind, prefix in kinds:
        groups: dict[str, list[ObjectInfo]] = {}
        for item in store.list(prefix):
            name = item.key.removeprefix(prefix).partition("/")[0]
            groups.setdefault(name, []).append(item)
        for name, items in groups.items():
            if name not in used and max(item.modified for item in items) < before:
                # What says that the rest is there goes first.
                items.sort(key=lambda item: not item.key.endswith(("/digest.json", "/_COMPLETE")))
                yield Leftover(kind, name, _size(items), tuple(item.key for item in items))


def _size(objects: Iterable[ObjectInfo]) -> int:
    return sum(item.size for item in objects)
