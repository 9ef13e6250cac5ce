"""`ftctl status`: where a run is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.commands.target import Run, configured_run
from ftctl.errors import ClusterError, UsageError

if TYPE_CHECKING:
    from ftctl.cluster.place import Place
    from ftctl.contract.clusterview import ClusterView
    from ftctl.report.record import RunRecord
    from ftctl.storage.base import Store

# The stages write their status every 10 s, and local runs at every change.
POLL_S = 2.0


def status(
    run: Run,
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the run until it ends; Ctrl-C leaves it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a run is: stage, step, loss, time left.

    Example: ftctl status support-bot-4f2a91c7d03e --watch
    """
    if watch and as_json:
        raise UsageError(
            "--watch and --json contradict each other",
            hint="Ask for --json as often as you need it.",
        )
    from ftctl.report.progress import status_json, status_text

    store, run_id = configured_run(run, overrides, config_dir, config_name)
    look = Look(store, run_id)
    if watch:
        _watch(look)
        return
    record, view = look()
    if as_json:
        from ftctl.commands.answers import NotStartedAnswer, StatusAnswer

        model = StatusAnswer if record.status else NotStartedAnswer
        typer.echo(model.model_validate(status_json(record, view)).model_dump_json())
    else:
        typer.echo(status_text(record, view))


class Look:
    """Looks at a run in its store, and in the cluster that it was submitted to."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._place = self._open()

    def __call__(self) -> tuple[RunRecord, ClusterView | None]:
        """The run as it is now; without the cluster's view where that does not answer."""
        from ftctl.cluster.place import look_and_keep
        from ftctl.config.secret import redact
        from ftctl.report.collect import collect_status

        view = None
        if self._place:
            try:
                view = look_and_keep(self._place, self._store, redact)
            except ClusterError as error:
                _warn(error)
        # The store last: a stage that ended in between has written how.
        return collect_status(self._store, self._run_id), view

    def _open(self) -> Place | None:
        from ftctl.storage.placement import read_placement

        placement = read_placement(self._store, self._run_id)
        if placement is None:
            return None
        from ftctl.cluster.place import open_place

        try:
            return open_place(placement, self._run_id)
        except ClusterError as error:
            _warn(error)
            return None


def _warn(error: ClusterError) -> None:
    where = f"{error.where}: " if error.where else ""
    typer.echo(f"warning: only the store is shown: {where}{error.what}", err=True)


def _watch(look: Look) -> None:
    """A view that redraws itself on a terminal, a line a change elsewhere."""
    if sys.stdout.isatty():
        _redraw(_looks(look))
    else:
        _print_changes(_looks(look))


def _looks(look: Look) -> Iterator[tuple[RunRecord, ClusterView | None]]:
    """The run as it is now and every POLL_S seconds, until it has ended."""
    from ftctl.report.place import joined_state

    while True:
        record, view = look()
        yield record, view
        if joined_state(record, view) not in ("pending", "running"):
            return
        time.sleep(POLL_S)


def _redraw(looks: Iterator[tuple[RunRecord, ClusterView | None]]) -> None:
    from rich.live import Live
    from rich.text import Text

    from ftctl.report.progress import status_text

    with Live(auto_refresh=False) as live:
        for record, view in looks:
            live.update(Text(status_text(record, view)), refresh=True)


def _print_changes(looks: Iterator[tuple[RunRecord, ClusterView | None]]) -> None:
    from ftctl.report.progress import status_line

    said = ""
    for record, view in looks:
        line = status_line(record, view)
        if line != said:
            typer.echo(line)
            said = line
