"""Brings a run into a cluster, or lets one go on that is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ftctl.cluster.apply import apply
from ftctl.cluster.delete import delete_workloads
from ftctl.cluster.kinds import Object, kind_of
from ftctl.cluster.observed import condition
from ftctl.cluster.place import Place
from ftctl.cluster.workloads import WORKLOADS, ending
from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Event
from ftctl.storage.base import ConflictError, Store
from ftctl.storage.index import mark_run
from ftctl.storage.placement import write_placement


def launch(place: Place, store: Store, run: RunFile, objects: Sequence[Object]) -> list[str]:
    """
    Write down where the run is, and create what it is made of; return what was created.

    Jobs of the run that ended without success, or that are none of `objects`, go first, pods and
    all: two never work on one stage, whatever the lease would make of it.

    Args:
        run: registered in the store.
    Raises:
        ClusterError: an object is refused; what was created before it is deleted again.
    """
    write_placement(store, run.run_id, place.placement())
    _announce(store, run, place)
    mark_run(store, run, "pending")
    remove_superseded(place, objects)
    return apply(place.cluster, objects)


def remove_superseded(
    place: Place, objects: Sequence[Object], on_wait: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Delete the run's Jobs and JobSets that failed or are not among `objects`; name them."""
    wanted = {body["metadata"]["name"] for body in objects if kind_of(body) in WORKLOADS}
    old = [
        one
        for one in place.workloads()
        if condition(one, "Failed") or (one["metadata"]["name"] not in wanted and not ending(one))
    ]
    return delete_workloads(place.cluster, place.namespace, old, on_wait)


def _announce(store: Store, run: RunFile, place: Place) -> None:
    """
    The first event. Pods take the time that the run was created from it: what they are started
    with has none, so that the same run is the same object.
    """
    if run.created is None:
        return
    event = Event(
        time=run.created, stage="train", kind="submitted", data={"namespace": place.namespace}
    )
    line = event.model_dump_json(exclude_none=True) + "\n"
    try:
        store.write(RunLayout(run.run_id).events, line.encode(), if_absent=True)
    except ConflictError:
        return
