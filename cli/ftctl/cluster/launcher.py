"""Brings the launcher of a sweep into a cluster, and takes it out."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.cluster.apply import apply
from ftctl.cluster.client import Cluster
from ftctl.cluster.delete import delete_workloads
from ftctl.cluster.kinds import (
    CONFIG_MAP,
    JOB,
    NETWORK_POLICY,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    Object,
    kind_of,
)
from ftctl.cluster.workloads import ending, workloads
from ftctl.contract.labels import launcher_selector

# What its pod mounts and uses; the Job goes before.
_BESIDE = (NETWORK_POLICY, CONFIG_MAP, ROLE_BINDING, ROLE, SERVICE_ACCOUNT)


def start_launcher(
    cluster: Cluster, namespace: str, sweep_id: str, objects: Sequence[Object]
) -> list[str]:
    """
    Create the launcher; return what was created. Two never work on one sweep: one that has ended,
    or does it in another way, goes first.

    Raises:
        ClusterError: an object is refused.
    """
    wanted = {body["metadata"]["name"] for body in objects if kind_of(body) is JOB}
    old = [
        job
        for job in workloads(cluster, namespace, launcher_selector(sweep_id))
        if ending(job) or job["metadata"]["name"] not in wanted
    ]
    delete_workloads(cluster, namespace, old)
    return apply(cluster, objects)


def stop_launcher(cluster: Cluster, namespace: str, sweep_id: str) -> list[str]:
    """Delete the launcher and all that was made for it; return its Job's name."""
    selector = launcher_selector(sweep_id)
    names = delete_workloads(cluster, namespace, workloads(cluster, namespace, selector))
    for kind in _BESIDE:
        for item in list(cluster.list(kind, namespace, labels=selector)):
            cluster.delete(kind, item["metadata"]["name"], namespace)
    return names
