"""The part of `ftctl sweep` that shows a sweep, and stops one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ftctl.errors import ClusterError, RunFailedError

if TYPE_CHECKING:
    from ftctl.contract.sweep import Sweep
    from ftctl.report.sweep import SweepRow
    from ftctl.storage.base import Store


_ENDED = ("succeeded", "failed", "cancelled")


def show(
    store: Store, sweep_id: str, *, output: Path | None, as_json: bool, final: bool = False
) -> None:
    """
    Print the table of a sweep, and write its page where asked for.

    Raises:
        RunFailedError: it is over (`final`), and none of its runs is published.
    """
    from ftctl.commands.sweep_children import rows_of
    from ftctl.report.sweep import best_of, counted, sweep_text
    from ftctl.report.sweep_page import render_sweep
    from ftctl.storage.sweeps import read_sweep

    sweep = read_sweep(store, sweep_id)
    rows = rows_of(store, sweep)
    best = best_of(rows, sweep.objective)
    if output:
        from ftctl.commands.report import write_page

        write_page(output, render_sweep(sweep, rows))
    if as_json:
        typer.echo(_json(store, sweep, rows))
    else:
        typer.echo(sweep_text(sweep, rows))
        left = sweep.trials - len(rows)
        typer.echo(f"\n{counted(rows)}" + (f"; {left} not chosen yet" if left else ""))
        for line in _places(store, sweep, best, output):
            typer.echo(line)
    if final and best is None:
        raise RunFailedError(
            "no run of the sweep is published",
            where=sweep_id,
            hint="`ftctl status RUN` says why of each; `ftctl resume RUN` tries one again.",
        )


def stop(store: Store, sweep_id: str, *, quiet: bool) -> None:
    """
    Stop a sweep: no run is started any more, the launcher goes, and runs that go on are cancelled.

    Of one that is over only the launcher's objects are left to go.

    Raises:
        ClusterError: something in the cluster could not be deleted; nothing more is started.
    """
    from ftctl.cluster.launcher import stop_launcher
    from ftctl.cluster.place import open_place
    from ftctl.commands.cancel import stop_run
    from ftctl.commands.sweep_children import rows_of
    from ftctl.storage.sweeps import cancel_sweep, read_launcher, read_sweep

    sweep = read_sweep(store, sweep_id)
    rows = rows_of(store, sweep)
    if len(rows) < sweep.trials or any(row.state not in _ENDED for row in rows):
        cancel_sweep(store, sweep_id)
    placement = read_launcher(store, sweep_id)
    if placement:
        place = open_place(placement, sweep_id)
        stop_launcher(place.cluster, place.namespace, sweep_id)
    failures = []
    for row in rows_of(store, read_sweep(store, sweep_id)):  # as the launcher has left them
        if not _has_begun(store, row):
            continue
        try:
            stop_run(store, row.run_id, quiet=quiet)
        except ClusterError as error:
            failures.append(f"{row.run_id}: {error.what}")
        if not quiet:
            typer.echo(f"{row.run_id} cancelled", err=True)
    if failures:
        raise ClusterError("\n".join(failures), where=sweep_id, hint="Do it again.")


def _has_begun(store: Store, row: SweepRow) -> bool:
    """Whether a run goes on, or waits in a cluster; what nobody started is left as it is."""
    from ftctl.storage.placement import read_placement

    if row.state == "running":
        return True
    return row.state == "pending" and read_placement(store, row.run_id) is not None


def _json(store: Store, sweep: Sweep, rows: list[SweepRow]) -> str:
    from ftctl.commands.sweep_answers import SweepAnswer, SweepRunAnswer
    from ftctl.report.sweep import best_of, ranked
    from ftctl.storage.sweeps import is_cancelled

    best = best_of(rows, sweep.objective)
    return SweepAnswer(
        sweep_id=sweep.sweep_id,
        cancelled=is_cancelled(store, sweep.sweep_id),
        by=sweep.objective,
        stop_bad=sweep.stop_bad,
        trials=sweep.trials,
        keys=[axis.key for axis in sweep.axes],
        runs=[SweepRunAnswer(**vars(row)) for row in ranked(rows, sweep.objective)],
        best=best.run_id if best else None,
        alias=sweep.alias,
        report=_report(store, sweep),
    ).model_dump_json()


def _report(store: Store, sweep: Sweep) -> str | None:
    from ftctl.contract.layout import SweepLayout

    key = SweepLayout(sweep.sweep_id).report
    return f"{store.url}/{key}" if store.stat(key) else None


def _places(store: Store, sweep: Sweep, best: SweepRow | None, output: Path | None) -> list[str]:
    report = str(output) if output else _report(store, sweep)
    lines = [f"best    {best.run_id}, as {sweep.alias}"] if best else []
    return lines + ([f"report  {report}"] if report else [])
