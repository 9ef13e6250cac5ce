"""What makes the pods of a run: Jobs, or a JobSet that makes Jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ForbiddenError, MissingError
from ftctl.cluster.kinds import JOB, JOB_SET, Kind, Object, kind_of
from ftctl.cluster.observed import condition, labels

WORKLOADS = (JOB_SET, JOB)
# https://github.com/kubernetes-sigs/jobset: api/jobset/v1alpha2/jobset_types.go
_PART_OF = "jobset.sigs.k8s.io/jobset-name"
# A Job that its JobSet has yet to make; no controller sets this.
_PLANNED = "ftctl.dev/planned"


def workloads(cluster: Cluster, namespace: str, selector: str) -> list[Object]:
    """The JobSets, and the Jobs that belong to none, with these labels. Raises ClusterError."""
    jobs = list(cluster.list(JOB, namespace, labels=selector))
    alone = [with_kind(JOB, job) for job in jobs if not is_part(job)]
    return alone if alone else job_sets(cluster, namespace, selector)


def job_sets(cluster: Cluster, namespace: str, selector: str) -> list[Object]:
    """The JobSets with these labels; none where there is no JobSet, or it is not for this user."""
    try:
        return [
            with_kind(JOB_SET, one) for one in cluster.list(JOB_SET, namespace, labels=selector)
        ]
    except (MissingError, ForbiddenError):
        return []


def with_kind(kind: Kind, item: Object) -> Object:
    """An item of a list, which leaves out what all items share, as an object that stands alone."""
    version = f"{kind.group}/{kind.version}".lstrip("/")
    return {"apiVersion": version, "kind": kind.name, **item}


def is_part(job: Object) -> bool:
    """Whether a JobSet made this Job."""
    return _PART_OF in labels(job)


def is_planned(job: Object) -> bool:
    """Whether this Job is still to be made, as `planned_jobs` says it will be."""
    return _PLANNED in labels(job)


def part_of(workload: Object) -> str | None:
    """A selector of the pods of a JobSet; None for a Job."""
    name = workload["metadata"]["name"]
    return f"{_PART_OF}={name}" if workload["kind"] == JOB_SET.name else None


def jobs_in(objects: Iterable[Object]) -> Iterator[Object]:
    """The Jobs among objects, and those that JobSets among them make, as they will be named."""
    for body in objects:
        if kind_of(body) is JOB:
            yield body
        elif kind_of(body) is JOB_SET:
            yield from _made(body)


def planned_jobs(sets: Sequence[Object], jobs: Sequence[Object]) -> list[Object]:
    """The Jobs that JobSets have still to make: those of stages that wait for another."""
    there = {job["metadata"]["name"] for job in jobs}
    found = []
    for job_set in sets:
        if ending(job_set) or job_set["metadata"].get("deletionTimestamp"):
            continue
        for job in _made(job_set):
            if job["metadata"]["name"] not in there:
                job["metadata"]["labels"] = {**labels(job), _PLANNED: "true", **_mark(job_set)}
                found.append(job)
    return found


def ending(workload: Object) -> Object | None:
    """The condition that says that a Job or JobSet is over, or None."""
    for kind in ("Complete", "Completed", "Failed"):
        found = condition(workload, kind)
        if found is not None:
            return found
    return None


def _made(job_set: Object) -> Iterator[Object]:
    meta, spec = job_set["metadata"], job_set["spec"]
    for part in spec["replicatedJobs"]:
        template = part["template"]
        yield {
            "apiVersion": f"{JOB.group}/{JOB.version}",
            "kind": JOB.name,
            "metadata": {
                "name": f"{meta['name']}-{part['name']}-0",
                "namespace": meta.get("namespace"),
                "labels": template["metadata"]["labels"],
                "creationTimestamp": meta.get("creationTimestamp"),
                "ownerReferences": [{"kind": JOB_SET.name, "uid": meta.get("uid")}],
            },
            "spec": {**template["spec"], "suspend": spec.get("suspend", False)},
        }


def _mark(job_set: Object) -> dict[str, str]:
    return {_PART_OF: job_set["metadata"]["name"]}
