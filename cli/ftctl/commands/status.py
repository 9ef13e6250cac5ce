"""`ftctl status`: where a run is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.commands.target import Run, configured_run
from ftctl.errors import UsageError

if TYPE_CHECKING:
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
    from ftctl.report.collect import collect_status
    from ftctl.report.progress import status_json, status_text

    store, run_id = configured_run(run, overrides, config_dir, config_name)
    if watch:
        _watch(store, run_id)
        return
    record = collect_status(store, run_id)
    typer.echo(json.dumps(status_json(record)) if as_json else status_text(record))


def _watch(store: Store, run_id: str) -> None:
    """A view that redraws itself on a terminal, a line a change elsewhere."""
    if sys.stdout.isatty():
        _redraw(_looks(store, run_id))
    else:
        _print_changes(_looks(store, run_id))


def _looks(store: Store, run_id: str) -> Iterator[RunRecord]:
    """The run as it is now and every POLL_S seconds, until it has ended."""
    from ftctl.report.collect import collect_status

    while True:
        record = collect_status(store, run_id)
        yield record
        if record.state not in ("pending", "running"):
            return
        time.sleep(POLL_S)


def _redraw(looks: Iterator[RunRecord]) -> None:
    from rich.live import Live
    from rich.text import Text

    from ftctl.report.progress import status_text

    with Live(auto_refresh=False) as live:
        for record in looks:
            live.update(Text(status_text(record)), refresh=True)


def _print_changes(looks: Iterator[RunRecord]) -> None:
    from ftctl.report.progress import status_line

    said = ""
    for record in looks:
        line = status_line(record)
        if line != said:
            typer.echo(line)
            said = line
