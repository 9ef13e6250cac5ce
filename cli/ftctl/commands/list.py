"""`ftctl list`: the runs in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides
from ftctl.errors import ClusterError

if TYPE_CHECKING:
    from ftctl.contract.operational import ClusterConfig
    from ftctl.contract.status import IndexRecord, Stage, State

# A cluster has nothing to add to these.
_ENDED = ("succeeded", "failed", "cancelled")


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

    What goes on in the cluster is taken from its Jobs, in the namespace of the configuration.

    Example: ftctl list storage.url=s3://ml/runs --limit 20
    """
    from ftctl.config.compose import compose
    from ftctl.contract.status import now
    from ftctl.report.progress import listing_text
    from ftctl.storage import index
    from ftctl.storage.open import open_store

    config = compose(overrides or (), config_dir=config_dir, config_name=config_name)
    store = open_store(config.storage, default=config.paths.output_dir)
    runs = _with_jobs(index.list_runs(store, limit), config.cluster)
    if as_json:
        from ftctl.commands.answers import ListAnswer

        typer.echo(ListAnswer(runs=runs).model_dump_json())
    elif runs:
        typer.echo(listing_text(runs, now()))
    else:
        typer.echo(f"no runs in {store.url}", err=True)


def _with_jobs(runs: list[IndexRecord], profile: ClusterConfig) -> list[IndexRecord]:
    """The records with the state that Jobs show, where a run goes on and a cluster is known."""
    if all(run.state in _ENDED for run in runs):
        return runs
    from ftctl.cluster.open import has_cluster, open_cluster

    if not has_cluster():
        return runs
    from ftctl.cluster.listing import job_states

    try:
        states = job_states(open_cluster(profile.context, patient=False), profile.namespace)
    except ClusterError as error:
        typer.echo(f"warning: only the store is shown: {error.what}", err=True)
        return runs
    return [_joined(run, states.get(run.run_id)) for run in runs]


def _joined(run: IndexRecord, found: tuple[Stage, State] | None) -> IndexRecord:
    if found is None or run.state in _ENDED or found[1] == "succeeded":
        return run
    return run.model_copy(update={"stage": found[0], "state": found[1]})
