"""Objects that go with another object of their namespace: Kubernetes collects them."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import CONFIG_MAP, Object


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
    return [
        {**body, "metadata": {**body["metadata"], "ownerReferences": [reference]}}
        for body in objects
    ]
