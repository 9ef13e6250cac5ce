"""Takes out of a cluster what a run has there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import (
    CONFIG_MAP,
    NETWORK_POLICY,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Object,
    kind_of,
)
from ftctl.cluster.observed import JOB_NAME
from ftctl.cluster.workloads import jobs_in, part_of, workloads
from ftctl.contract.labels import run_selector
from ftctl.errors import ClusterError

# What pods of a run mount and use; what makes them goes before.
KINDS = (NETWORK_POLICY, SERVICE, CONFIG_MAP, SERVICE_ACCOUNT)
# Beyond the grace period, for the kubelet and the controllers.
_EXTRA_S = 60.0
_POLL_S = 0.5


def delete_workloads(
    cluster: Cluster,
    namespace: str,
    workloads: Sequence[Object],
    on_wait: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """
    Delete Jobs, JobSets and their pods, which may save what they have; return when all are gone.

    Args:
        on_wait: called at every look with the number of pods that are left.
    Returns:
        Names of those that were there.
    Raises:
        ClusterError: a pod outlives its grace period, as on a node that is lost.
    """
    there = [one for one in workloads if cluster.delete(kind_of(one), _name(one), namespace)]
    deadline = time.monotonic() + _EXTRA_S + max(map(_grace_s, jobs_in(workloads)), default=0)
    waiting = list(workloads)
    while waiting:
        waiting = [one for one in waiting if cluster.find(kind_of(one), _name(one), namespace)]
        pods = [pod for one in waiting for pod in _pods(cluster, namespace, one)]
        if waiting and time.monotonic() > deadline:
            stuck = ", ".join(map(_name, pods or waiting))
            raise ClusterError(
                f"{stuck} does not end",
                where=namespace,
                hint="Its node may be lost: `kubectl get nodes`. The rest was deleted.",
            )
        if waiting:
            on_wait(len(pods))
            time.sleep(_POLL_S)
    return [_name(one) for one in there]


def delete_run(cluster: Cluster, namespace: str, run_id: str) -> list[str]:
    """
    Delete everything a run has in the cluster, its Jobs first; return what was there.

    Raises:
        ClusterError: as `delete_workloads`.
    """
    selector = run_selector(run_id)
    found = workloads(cluster, namespace, selector)
    kinds = {_name(one): one["kind"] for one in found}
    names = delete_workloads(cluster, namespace, found)
    deleted = [f"{kinds[name]} {name}" for name in names]
    for kind in KINDS:
        deleted += _delete_all(cluster, kind, namespace, selector)
    return deleted


def _delete_all(cluster: Cluster, kind: Kind, namespace: str, selector: str) -> list[str]:
    names = [
        str(item["metadata"]["name"]) for item in cluster.list(kind, namespace, labels=selector)
    ]
    return [f"{kind.name} {name}" for name in names if cluster.delete(kind, name, namespace)]


def _pods(cluster: Cluster, namespace: str, workload: Object) -> list[Object]:
    selector = part_of(workload) or f"{JOB_NAME}={_name(workload)}"
    return list(cluster.list(POD, namespace, labels=selector))


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


def _grace_s(job: Object) -> int:
    return int(job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds") or 30)
