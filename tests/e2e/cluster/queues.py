"""A queue of Kueue with room for one GPU."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.cluster.conftest import GPU

_GROUP, _VERSION = "kueue.x-k8s.io", "v1beta1"
NAME = "team"
# All that pods ask for has to be covered; only GPUs are scarce.
_QUOTAS = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", GPU: "1"}


@dataclass(frozen=True)
class Queue:
    """Names of two priority classes that its runs can have."""

    low: str
    high: str


@contextmanager
def one_gpu(namespace: str) -> Iterator[Queue]:
    """The local queue NAME of a namespace, on a cluster queue of its own; priorities count."""
    from kubernetes import client, config

    config.load_kube_config()
    custom, scheduling = client.CustomObjectsApi(), client.SchedulingV1Api()
    name = f"ftctl-e2e-{secrets.token_hex(4)}"
    queue = Queue(f"{name}-low", f"{name}-high")
    made = {
        "resourceflavors": {"kind": "ResourceFlavor", "spec": {}},
        "clusterqueues": {"kind": "ClusterQueue", "spec": _cluster_queue(name, namespace)},
    }
    for plural, body in made.items():
        custom.create_cluster_custom_object(_GROUP, _VERSION, plural, _object(name, body))
    local = _object(NAME, {"kind": "LocalQueue", "spec": {"clusterQueue": name}})
    custom.create_namespaced_custom_object(_GROUP, _VERSION, namespace, "localqueues", local)
    for each, value in ((queue.low, 1), (queue.high, 100)):
        scheduling.create_priority_class({"metadata": {"name": each}, "value": value})
    try:
        yield queue
    finally:
        for each in (queue.low, queue.high):
            scheduling.delete_priority_class(each)
        custom.delete_namespaced_custom_object(_GROUP, _VERSION, namespace, "localqueues", NAME)
        for plural in reversed(made):
            custom.delete_cluster_custom_object(_GROUP, _VERSION, plural, name)


def _object(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{_GROUP}/{_VERSION}", "metadata": {"name": name}, **body}


def _cluster_queue(flavor: str, namespace: str) -> dict[str, Any]:
    quotas = [{"name": name, "nominalQuota": amount} for name, amount in _QUOTAS.items()]
    flavors = [{"name": flavor, "resources": quotas}]
    return {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [{"coveredResources": list(_QUOTAS), "flavors": flavors}],
    }
