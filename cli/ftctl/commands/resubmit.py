"""The part of `ftctl resume` that brings a run back into its cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.contract.operational import ClusterConfig
    from ftctl.contract.placement import Placement
    from ftctl.contract.runfile import RunFile
    from ftctl.storage.base import Store


def resubmit(
    run: RunFile,
    store: Store,
    placement: Placement,
    profile: ClusterConfig,
    *,
    wait: bool,
    yes: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """
    Create again what a run lacks in its cluster: the Jobs that failed, or were deleted.

    Args:
        profile: what the pods get now; its namespace is the run's.
    Raises:
        ClusterError: the cluster refuses it, or cannot be reached.
        UsageError: nobody can answer the question.
    """
    from ftctl.cluster.apply import preflight
    from ftctl.cluster.engine import with_engine
    from ftctl.cluster.launch import launch
    from ftctl.cluster.owner import owned_as_before
    from ftctl.cluster.place import look_and_keep, open_place
    from ftctl.commands.asking import confirm
    from ftctl.commands.plan import make_plan
    from ftctl.commands.rendering import objects_of
    from ftctl.commands.standing import other_settings
    from ftctl.commands.submit import answer, end
    from ftctl.config.secret import redact
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.pushed import is_finished
    from ftctl.storage.runs import register
    from ftctl.storage.tombstones import clear_tombstones

    place = open_place(placement, run.run_id)
    if is_finished(store, run.run_id, run.config.publish):
        typer.echo(f"{run.run_id} is published already", err=True)
        end(store, place, wait=False, as_json=as_json, quiet=quiet)
        return
    profile = with_engine(profile, place.cluster)
    run = run.model_copy(update={"config": run.config.model_copy(update={"cluster": profile})})
    objects = objects_of(run)
    view = look_and_keep(place, store, redact)
    if view.goes_on:
        clear_tombstones(store, RunLayout(run.run_id))
        typer.echo(f"{run.run_id} is running already{other_settings(view, objects)}", err=True)
        end(store, place, wait=wait, as_json=as_json, quiet=quiet)
        return
    objects = owned_as_before(place.cluster, place.namespace, run.run_id, objects)
    plan = make_plan(run, place, objects, None, preflight(place.cluster, objects))
    if not (as_json or quiet):
        typer.echo(plan.text(), err=True)
    confirm(f"Resume {run.run_id}?", yes=yes)
    clear_tombstones(store, RunLayout(run.run_id))
    launch(place, store, register(store, run), objects)
    if wait:
        end(store, place, wait=True, as_json=as_json, quiet=quiet)
    else:
        answer(plan, "resumed", as_json=as_json)


def resumed_profile(
    had: ClusterConfig, named: ClusterConfig, overrides: Sequence[str]
) -> ClusterConfig:
    """
    The profile that a run had, or the one that is chosen now, with what is set besides.

    Args:
        named: the profile that the overrides were composed into, which has their values.
    Raises:
        UsageError: the namespace or context: a run stays in its place.
    """
    from ftctl.runs.disk import disk_asked, disk_of

    keys = {override: override.lstrip("+~").partition("=")[0] for override in overrides}
    for override, key in keys.items():
        if key in ("cluster.namespace", "cluster.context"):
            raise UsageError(
                "a run stays in its namespace",
                where=f"override {override}",
                hint="Cancel it, then submit the same inputs there.",
            )
    if "cluster" in keys.values():
        placed = named.model_copy(update={"namespace": had.namespace, "context": had.context})
        return disk_asked(placed, disk_of(had))
    values, wanted = had.model_dump(mode="json"), named.model_dump(mode="json")
    for key in keys.values():
        section, *path = key.split(".")
        if section == "cluster":
            _lay_over(values, wanted, path)
    return type(had).model_validate(values)


def _lay_over(values: dict[str, Any], wanted: dict[str, Any], path: Sequence[str]) -> None:
    """Give the place at `path` what it is in `wanted`; a mapping that was none comes whole."""
    for name in path[:-1]:
        if not (isinstance(values.get(name), dict) and isinstance(wanted.get(name), dict)):
            values[name] = wanted.get(name)
            return
        values, wanted = values[name], wanted[name]
    if path[-1] in wanted:
        values[path[-1]] = wanted[path[-1]]
    else:
        values.pop(path[-1], None)
