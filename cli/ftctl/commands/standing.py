"""How a run stands that is submitted again: published, going on, ended, or not there at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ftctl.cluster.place import Place
    from ftctl.contract.clusterview import ClusterView
    from ftctl.contract.runfile import RunFile
    from ftctl.storage.base import Store


def is_under_way(
    store: Store,
    place: Place,
    run: RunFile,
    objects: Sequence[dict[str, Any]],
    *,
    as_json: bool,
    dry_run: bool,
) -> bool:
    """
    Whether the run is published, and pushed where it is to be, or going on; then this is said.

    Raises:
        RunFailedError: it failed, or was cancelled, and nothing about it is other now.
        ClusterError: it goes on somewhere else.
    """
    from ftctl.cluster.place import look_and_keep
    from ftctl.commands.run import refuse_ended
    from ftctl.config.secret import redact
    from ftctl.storage.pushed import is_finished

    run_id = place.run_id
    if is_finished(store, run_id, run.config.publish):
        _say_known(store, run_id, "published already", as_json=as_json)
        return True
    refuse_ended(store, run_id)
    _refuse_elsewhere(store, place)
    view = look_and_keep(place, store, redact) if not dry_run else _look(place)
    if view.failed:
        _refuse_same(view, run_id, objects)
        return False
    if view.goes_on:
        other = other_settings(view, objects)
        _say_known(store, run_id, f"running already{other}", as_json=as_json)
        return True
    return False


def _look(place: Place) -> ClusterView:
    from ftctl.cluster.observe import look

    return look(place.cluster, place.namespace, place.run_id)


def _refuse_elsewhere(store: Store, place: Place) -> None:
    """Refuse a run that goes on in another namespace or cluster. Raises ClusterError."""
    from ftctl.cluster.place import open_place
    from ftctl.errors import ClusterError
    from ftctl.storage.placement import read_placement

    known = read_placement(store, place.run_id)
    if known is None or known.is_same(place.placement()):
        return
    there = open_place(known, place.run_id)
    if _look(there).is_alive:
        raise ClusterError(
            f"the run goes on in {there}",
            where=place.run_id,
            hint=f"`ftctl cancel {place.run_id}` stops it there; `ftctl resume` starts it again.",
        )


def _refuse_same(view: ClusterView, run_id: str, objects: Sequence[dict[str, Any]]) -> None:
    """What failed would fail again, unless its Job is another now. Raises the run's failure."""
    from ftctl.commands.attach import failure_of

    failed = view.failed
    assert failed is not None
    if failed.job in _job_names(objects):
        raise failure_of(failed, run_id)


def other_settings(view: ClusterView, objects: Sequence[dict[str, Any]]) -> str:
    """What to add to "running already" where the Jobs that run are not those of `objects`."""
    names = _job_names(objects)
    if all(stage.job in names for stage in view.stages):
        return ""
    return ", with other settings than these; cancel it first to change them"


def _job_names(objects: Sequence[dict[str, Any]]) -> set[str]:
    from ftctl.cluster.workloads import jobs_in

    return {str(job["metadata"]["name"]) for job in jobs_in(objects)}


def _say_known(store: Store, run_id: str, what: str, *, as_json: bool) -> None:
    if not as_json:
        typer.echo(f"{run_id} is {what}, in {store.url}", err=True)
