"""The children of a sweep as the store shows them, which is chosen next, and which is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftctl.contract.status import Metrics
    from ftctl.contract.sweep import Child, Sweep
    from ftctl.report.record import RunRecord
    from ftctl.report.sweep import SweepRow
    from ftctl.runs.search import Told
    from ftctl.storage.base import Store

# How often a search tries to find values that it has not had yet.
_TRIES = 20


def rows_of(store: Store, sweep: Sweep) -> list[SweepRow]:
    """What came of each child so far, in their order. Raises StorageError."""
    from ftctl.report.collect import collect_results
    from ftctl.report.sweep import sweep_rows
    from ftctl.storage.index import list_runs
    from ftctl.storage.parallel import each

    ids = [child.run_id for child in sweep.children]
    records = each(lambda run_id: collect_results(store, run_id), ids)
    failed = {record.run_id for record in list_runs(store) if record.state == "failed"}
    # A pod that was killed leaves status.json at running; the index knows better.
    lost = {one.run_id for one in records if one.run_id in failed and not _is_over(one)}
    ended = [one for one in records if one.state == "failed" or _is_over(one) or one.run_id in lost]
    reasons = zip(ended, each(lambda one: _reason(store, one), ended), strict=True)
    rows = sweep_rows(sweep, records, {one.run_id: text for one, text in reasons if text})
    return [row.failed() if row.run_id in lost else row for row in rows]


def conclude(store: Store, sweep_id: str) -> None:
    """Write the page of a sweep, and let its alias mean the best run."""
    from ftctl.contract.layout import SweepLayout
    from ftctl.report.sweep import best_of
    from ftctl.report.sweep_page import render_sweep
    from ftctl.storage.aliases import point
    from ftctl.storage.sweeps import read_sweep

    sweep = read_sweep(store, sweep_id)
    rows = rows_of(store, sweep)
    page = render_sweep(sweep, rows)
    store.write(SweepLayout(sweep.sweep_id).report, page.encode())
    best = best_of(rows, sweep.objective)
    if best:
        point(store, sweep.alias, best.run_id, sweep.sweep_id)


class Children:
    """The children in the order to start them; those of a search are chosen in their turn."""

    def __init__(self, store: Store, sweep: Sweep) -> None:
        self._store, self.sweep = store, sweep
        self._given = 0

    @property
    def given(self) -> list[str]:
        """The runs that were given out so far."""
        return [child.run_id for child in self.sweep.children[: self._given]]

    def next(self) -> Child | None:
        """The next child, registered in the store, or None: there are no more."""
        if self._given == len(self.sweep.children) and not self._choose():
            return None
        self._given += 1
        return self.sweep.children[self._given - 1]

    def _choose(self) -> bool:
        """Let a search add a child. Raises ConflictError: another process adds some too."""
        from ftctl.commands.sweep_plan import varied_run
        from ftctl.contract.sweep import Child
        from ftctl.runs.search import suggest
        from ftctl.storage.runs import register
        from ftctl.storage.sweeps import add_child

        search, sweep = self.sweep.search, self.sweep
        if search is None or len(sweep.children) >= search.trials:
            return False
        told = _told(sweep, rows_of(self._store, sweep))
        known = {child.run_id for child in sweep.children}
        for attempt in range(_TRIES):
            seed = search.seed + attempt * search.trials
            values = suggest(sweep.axes, told, objective=sweep.objective, seed=seed)
            run = varied_run(search.base, values)
            if run.run_id not in known:
                register(self._store, run)
                child = Child(run_id=run.run_id, values=values)
                self.sweep = add_child(self._store, sweep, child)
                return True
        return False  # all combinations of a small space were had


class Judge:
    """Stops children that fall behind the others."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: dict[str, tuple[Metrics, ...]] = {}

    def consider(
        self,
        sweep: Sweep,
        run_id: str,
        others: Sequence[str],
        own: Sequence[Metrics] | None = None,
    ) -> str | None:
        """
        Stop a child by a tombstone where it need not go on; return why.

        Args:
            others: those that it is compared with; itself among them does not count.
            own: its metrics, where they are known already.
        """
        from ftctl.contract.layout import RunLayout
        from ftctl.report.median import falls_behind
        from ftctl.storage.index import mark_run
        from ftctl.storage.parallel import each
        from ftctl.storage.runs import read_run
        from ftctl.storage.tombstones import write_tombstone

        if not sweep.stop_bad:
            return None
        own = own if own is not None else self._metrics(run_id)
        reason = falls_behind(own, each(self._metrics, [one for one in others if one != run_id]))
        if reason:
            told = f"by the sweep {sweep.sweep_id}: {reason}"
            write_tombstone(self._store, RunLayout(run_id), "cancelled", told)
            mark_run(self._store, read_run(self._store, run_id), "cancelled")
        return reason

    def _metrics(self, run_id: str) -> tuple[Metrics, ...]:
        from ftctl.report.collect import collect_results

        if run_id not in self._ended:
            record = collect_results(self._store, run_id)
            if not _is_over(record):
                return record.metrics
            self._ended[run_id] = record.metrics
        return self._ended[run_id]


def _told(sweep: Sweep, rows: Sequence[SweepRow]) -> list[Told]:
    from ftctl.runs.search import Told

    ended = ("succeeded", "failed", "cancelled")
    return [Told(row.values, row.score(sweep.objective), ended=row.state in ended) for row in rows]


def _is_over(record: RunRecord) -> bool:
    return record.state in ("succeeded", "cancelled") or record.tombstones.failed


def _reason(store: Store, record: RunRecord) -> str | None:
    """Why a run is not published, where somebody said so."""
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.placement import read_failures
    from ftctl.storage.tombstones import find_tombstone

    if record.state == "succeeded":
        return None
    tombstone = find_tombstone(store, RunLayout(record.run_id))
    if tombstone and tombstone.reason:
        return tombstone.reason
    if record.status and record.status.error:
        return record.status.error
    failures = read_failures(store, record.run_id)
    return failures[-1].reason.what if failures else None
