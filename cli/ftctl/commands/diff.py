"""`ftctl diff`: what a run would change in its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides

if TYPE_CHECKING:
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.status import State


def diff(
    overrides: Overrides = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Show what a run would change in its cluster.

    + is created, ~ changed, = there as rendered, - there and not rendered. Nothing is written.

    Example: ftctl diff experiment=smoke cluster=cpu storage.url=s3://bucket/prefix
    """
    from ftctl.cluster.open import open_cluster
    from ftctl.cluster.present import present_objects
    from ftctl.commands.rendering import for_cluster, render_run
    from ftctl.config.compose import compose
    from ftctl.manifests.difference import differences

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    rendering = render_run(config, config_dir=config_dir)
    cluster = open_cluster(config.cluster.context)
    rendering = for_cluster(rendering, cluster)
    run = rendering.prepared.run
    live = present_objects(cluster, config.cluster.namespace, run.run_id)
    found = differences(rendering.objects, live)
    state = _state(run)
    if as_json:
        from ftctl.commands.answers import DiffAnswer

        told = DiffAnswer(run_id=run.run_id, state=state, objects=found)
        typer.echo(told.model_dump_json())
        return
    where = run.config.storage.url
    typer.echo(f"{run.run_id}: {state or 'not yet'} in {where}")
    typer.echo("\n".join(map(str, found)))


def _state(run: RunFile) -> State | None:
    """The run's state in its store, or None where the store has not seen it."""
    from ftctl.contract.layout import RunLayout
    from ftctl.report.collect import collect_status
    from ftctl.storage.open import open_store

    store = open_store(run.config.storage)
    if store.stat(RunLayout(run.run_id).config) is None:
        return None
    return collect_status(store, run.run_id).state
