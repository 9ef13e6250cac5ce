"""What a run has in a cluster, as it was created."""

from __future__ import annotations

from ftctl.cluster.client import Cluster
from ftctl.cluster.delete import KINDS
from ftctl.cluster.kinds import Object
from ftctl.contract.labels import run_selector


def present_objects(cluster: Cluster, namespace: str, run_id: str) -> list[Object]:
    """Every object of a run. Raises ClusterError."""
    return selected_objects(cluster, namespace, run_selector(run_id))


def selected_objects(cluster: Cluster, namespace: str, selector: str) -> list[Object]:
    """
    Every object with these labels, of the kinds that runs are made of. Raises ClusterError.

    Lists leave out what all their items share; it is put back, so that an object stands alone.
    """
    return [
        {"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.name, **body}
        for kind in KINDS
        for body in cluster.list(kind, namespace, labels=selector)
    ]
