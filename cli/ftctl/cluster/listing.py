"""How all runs of a namespace stand, in one listing of their Jobs."""

from __future__ import annotations

from collections import defaultdict

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import JOB, Object
from ftctl.cluster.observed import condition, labels, newest
from ftctl.contract.labels import RUN, STAGE, all_selector
from ftctl.contract.status import Stage, State

_NOT_SUCCEEDED = "status.successful=0"


def job_states(cluster: Cluster, namespace: str) -> dict[str, tuple[Stage, State]]:
    """
    The stage that each run is at, and its state, by run id.

    Read from the Jobs alone, so that thousands are listed in a second; why one is pending takes a
    closer look. Of Jobs that succeeded the store knows, and they are left out: a run is not here
    if nothing else of it is there.
    """
    jobs: dict[str, list[Object]] = defaultdict(list)
    for job in cluster.list(JOB, namespace, labels=all_selector(), fields=_NOT_SUCCEEDED):
        jobs[labels(job)[RUN]].append(_slim(job))
    return {run_id: standing(found) for run_id, found in jobs.items()}


def standing(jobs: list[Object]) -> tuple[Stage, State]:
    """The first stage of a run that failed, or that is not done, by its Jobs."""
    states = {stage: _state(job) for stage in ("train", "convert") if (job := _of(jobs, stage))}
    order: tuple[Stage, ...] = ("train", "convert")
    for wanted in ("failed", "running", "pending"):
        for stage in order:
            if states.get(stage) == wanted:
                return stage, states[stage]
    return "convert", "succeeded"


def _slim(job: Object) -> Object:
    """What is looked at here of a Job; its template alone has thousands of bytes."""
    meta = {"labels": labels(job), "creationTimestamp": job["metadata"]["creationTimestamp"]}
    return {"metadata": meta, "status": job.get("status", {})}


def _of(jobs: list[Object], stage: str) -> Object | None:
    return newest(job for job in jobs if labels(job).get(STAGE) == stage)


def _state(job: Object) -> State:
    if condition(job, "Complete"):
        return "succeeded"
    if condition(job, "Failed"):
        return "failed"
    return "running" if job.get("status", {}).get("ready") else "pending"
