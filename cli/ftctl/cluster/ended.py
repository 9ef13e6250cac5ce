"""Runs that have objects in a cluster, and nothing more to do there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import condition, labels, newest
from ftctl.cluster.present import present_objects, selected_objects
from ftctl.cluster.workloads import ending
from ftctl.contract.labels import RUN, STAGE, all_selector
from ftctl.errors import ClusterError


@dataclass(frozen=True)
class EndedRun:
    """A run whose Jobs have ended, or are gone; `objects` as `Job x`."""

    run_id: str
    objects: tuple[str, ...]


def ended_runs(cluster: Cluster, namespace: str, *, before: datetime) -> list[EndedRun]:
    """
    The runs of a namespace that ended before a time, with all they have there.

    A run that a Job of is still pending, suspended or running is not among them, unless it is a
    convert stage whose train stage failed; nor one whose objects were made just now: its Jobs may
    be on their way.
    """
    found: dict[str, list[Object]] = {}
    for item in selected_objects(cluster, namespace, all_selector()):
        found.setdefault(labels(item)[RUN], []).append(item)
    return [
        EndedRun(run_id, tuple(f"{item['kind']} {item['metadata']['name']}" for item in items))
        for run_id, items in sorted(found.items())
        if (end := _end(items)) is not None and end < before
    ]


def ended_run(cluster: Cluster, namespace: str, run_id: str) -> EndedRun | None:
    """
    One run's objects, or None where it has none.

    Raises:
        ClusterError: one of its Jobs has not ended.
    """
    items = present_objects(cluster, namespace, run_id)
    if not items:
        return None
    if _end(items) is None:
        raise ClusterError(
            "the run has not ended in the cluster",
            where=f"{namespace}/{run_id}",
            hint=f"Stop it first: `ftctl cancel {run_id}`.",
        )
    names = tuple(f"{item['kind']} {item['metadata']['name']}" for item in items)
    return EndedRun(run_id, names)


def has_ended(cluster: Cluster, namespace: str, run_id: str) -> bool:
    """Whether a run that was found to have ended still has: somebody may have resumed it."""
    return _end(present_objects(cluster, namespace, run_id)) is not None


def _end(items: Sequence[Object]) -> datetime | None:
    """When the last of a run's Jobs ended, or its last object was made; None before that."""
    times = []
    for item in items:
        if item["kind"] not in ("Job", "JobSet"):
            times.append(item["metadata"]["creationTimestamp"])
            continue
        ended = ending(item)
        if ended is not None:
            times.append(ended["lastTransitionTime"])
        elif not _waits_for_nothing(item, items):
            return None
    return max(map(datetime.fromisoformat, times), default=None)


def _waits_for_nothing(job: Object, items: Iterable[Object]) -> bool:
    """Whether it is a convert stage that no train stage will hand over to, until a resume."""
    if labels(job).get(STAGE) != "convert" or job.get("status", {}).get("ready"):
        return False
    train = newest(
        item for item in items if item["kind"] == "Job" and labels(item).get(STAGE) == "train"
    )
    return train is not None and condition(train, "Failed") is not None
