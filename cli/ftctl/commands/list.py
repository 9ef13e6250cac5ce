"""`ftctl list`: the runs in a store."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.commands.target import configured_store


def list_runs(
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, metavar="N", help="Only the newest N runs."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs in the store, newest first.

    Example: ftctl list storage.url=s3://ml/runs --limit 20
    """
    from ftctl.contract.status import now
    from ftctl.report.progress import listing_text
    from ftctl.storage import index

    store = configured_store(overrides, config_dir, config_name)
    runs = index.list_runs(store, limit)
    if as_json:
        typer.echo(json.dumps({"runs": [run.model_dump(mode="json") for run in runs]}))
    elif runs:
        typer.echo(listing_text(runs, now()))
    else:
        typer.echo(f"no runs in {store.url}", err=True)
