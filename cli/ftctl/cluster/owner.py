"""Objects that go with another object of their namespace: Kubernetes collects them."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import CONFIG_MAP, Object
from ftctl.cluster.present import present_objects


def owned_by(
    cluster: Cluster, namespace: str, config_map: str, objects: Sequence[Object]
) -> list[Object]:
    """
    The same objects, owned by a ConfigMap.

    Raises:
        MissingError: there is no such ConfigMap: the collector would remove the objects at once.
    """
    meta = cluster.get(CONFIG_MAP, config_map, namespace)["metadata"]
    reference = {
        "apiVersion": CONFIG_MAP.version,
        "kind": CONFIG_MAP.name,
        "name": config_map,
        "uid": meta["uid"],
    }
    return _with_owners(objects, [reference])


def owned_as_before(
    cluster: Cluster, namespace: str, run_id: str, objects: Sequence[Object]
) -> list[Object]:
    """The same objects, owned by what owns those that the run has there. Raises ClusterError."""
    for body in present_objects(cluster, namespace, run_id):
        if owners := body["metadata"].get("ownerReferences"):
            return _with_owners(objects, owners)
    return list(objects)


def _with_owners(objects: Sequence[Object], owners: Sequence[Object]) -> list[Object]:
    return [
        {**body, "metadata": {**body["metadata"], "ownerReferences": list(owners)}}
        for body in objects
    ]
