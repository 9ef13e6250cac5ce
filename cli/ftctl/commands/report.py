"""`ftctl report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.commands.target import Run, configured_run
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.report.record import RunRecord

_STDOUT = "-"


def report(
    run: Run,
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to write it; - is stdout. Default: RUN.html in this folder.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write or show the report of a run.

    A run that is still going, or that failed, has a report too.

    Example: ftctl report support-bot-4f2a91c7d03e -o report.html
    """
    if as_json and output == _STDOUT:
        raise UsageError(
            "--json and -o - both want stdout",
            hint="Write the page to a file, or leave out --json.",
        )
    from ftctl.report.collect import collect
    from ftctl.report.html import render_report

    store, run_id = configured_run(run, overrides, config_dir, config_name)
    record = collect(store, run_id)
    for problem in record.problems:
        typer.echo(f"warning: {store.url}: {problem}", err=True)
    page = render_report(record)
    if output == _STDOUT:
        typer.echo(page, nl=False)
        return
    path = Path(output or f"{run_id}.html")
    write_page(path, page)
    typer.echo(_summary(record, path) if as_json else str(path))


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all; what is no plain file, as /dev/null, in place."""
    in_place = path.exists() and not path.is_file()
    target = path if in_place else path.with_name(f".{path.name}.part")
    try:
        target.write_text(page, encoding="utf-8")
        if not in_place:
            target.replace(path)
    except OSError as error:
        raise UsageError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            hint="Name another file with -o.",
        ) from error


def _summary(record: RunRecord, path: Path) -> str:
    from ftctl.commands.answers import ReportAnswer
    from ftctl.report.table import outcome_rows

    return ReportAnswer(
        run_id=record.run_id,
        state=record.state,
        report=str(path),
        outcome=outcome_rows(record.evaluation, record.verification),
        problems=list(record.problems),
    ).model_dump_json()
