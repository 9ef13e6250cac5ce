"""Nodes that kwok simulates: pods there start and finish at once, and nothing runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster

TAINT = "kwok.x-k8s.io/node"


def simulated_nodes(cluster: Cluster) -> list[str]:
    """Their names, by the taint that kwok's documentation gives them."""
    return [
        node["metadata"]["name"]
        for node in cluster.list(kinds.NODE)
        if any(taint["key"] == TAINT for taint in node["spec"].get("taints", ()))
    ]


@contextmanager
def closed(nodes: Sequence[str]) -> Iterator[None]:
    """While this is open, no pod is put onto the nodes: those that need them wait."""
    try:
        _close(nodes, True)
        yield
    finally:
        _close(nodes, False)


def _close(nodes: Sequence[str], closed: bool) -> None:
    from kubernetes import client, config

    config.load_kube_config()
    for node in nodes:
        client.CoreV1Api().patch_node(node, {"spec": {"unschedulable": closed}})
