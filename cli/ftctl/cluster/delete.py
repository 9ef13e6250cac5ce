"""Takes out of a cluster what a run has there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import (
    CONFIG_MAP,
    JOB,
    NETWORK_POLICY,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Object,
)
from ftctl.cluster.observed import JOB_NAME
from ftctl.contract.labels import run_selector
from ftctl.errors import ClusterError

# Jobs first: their pods mount and use what comes after.
KINDS = (JOB, NETWORK_POLICY, SERVICE, CONFIG_MAP, SERVICE_ACCOUNT)
# Beyond the grace period, for the kubelet and the controllers.
_EXTRA_S = 60.0
_POLL_S = 0.5


def delete_jobs(
    cluster: Cluster,
    namespace: str,
    jobs: Sequence[Object],
    on_wait: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """
    Delete Jobs and their pods, which may save what they have; return when all pods are gone.

    Args:
        on_wait: called at every look with the number of pods that are left.
    Returns:
        Names of the Jobs that were there.
    Raises:
        ClusterError: a pod outlives its grace period, as on a node that is lost.
    """
    names = [str(job["metadata"]["name"]) for job in jobs]
    deleted = [name for name in names if cluster.delete(JOB, name, namespace)]
    deadline = time.monotonic() + _EXTRA_S + max([_grace_s(job) for job in jobs], default=0)
    waiting = names
    while waiting:
        waiting = [name for name in waiting if cluster.find(JOB, name, namespace)]
        pods = [pod for name in waiting for pod in _pods(cluster, namespace, name)]
        if waiting and time.monotonic() > deadline:
            stuck = ", ".join(str(pod["metadata"]["name"]) for pod in pods) or ", ".join(waiting)
            raise ClusterError(
                f"{stuck} does not end",
                where=namespace,
                hint="Its node may be lost: `kubectl get nodes`. The rest was deleted.",
            )
        if waiting:
            on_wait(len(pods))
            time.sleep(_POLL_S)
    return deleted


def delete_run(cluster: Cluster, namespace: str, run_id: str) -> list[str]:
    """
    Delete everything a run has in the cluster, its Jobs first; return what was there.

    Raises:
        ClusterError: as `delete_jobs`.
    """
    selector = run_selector(run_id)
    jobs = list(cluster.list(JOB, namespace, labels=selector))
    deleted = [f"Job {name}" for name in delete_jobs(cluster, namespace, jobs)]
    for kind in KINDS[1:]:
        deleted += _delete_all(cluster, kind, namespace, selector)
    return deleted


def _delete_all(cluster: Cluster, kind: Kind, namespace: str, selector: str) -> list[str]:
    names = [
        str(item["metadata"]["name"]) for item in cluster.list(kind, namespace, labels=selector)
    ]
    return [f"{kind.name} {name}" for name in names if cluster.delete(kind, name, namespace)]


def _pods(cluster: Cluster, namespace: str, job: str) -> list[Object]:
    return list(cluster.list(POD, namespace, labels=f"{JOB_NAME}={job}"))


def _grace_s(job: Object) -> int:
    return int(job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds") or 30)
