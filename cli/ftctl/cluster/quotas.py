"""Quotas that take each stage of a run, and not all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.kinds import QUOTA, Object
from ftctl.contract.quantity import api_quantity


def crowded(cluster: Cluster, namespace: str, jobs: Sequence[Object]) -> list[str]:
    """
    A sentence for each quota of the namespace that has no room for the pods of all Jobs.

    The stage that waits holds what it asks for. Should it come first, as when the other's pod
    failed and is made anew, the other has to wait for it to give way.
    """
    try:
        quotas = list(cluster.list(QUOTA, namespace))
    except ForbiddenError:
        return []
    found = []
    for quota in quotas:
        spec = quota.get("spec", {})
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # It may be for other pods.
        lacking = [
            f"{key} {limit}"
            for key, limit in spec.get("hard", {}).items()
            if sum(_asked(job, key) for job in jobs) > api_quantity(str(limit))
        ]
        if lacking:
            found.append(
                f"the quota {quota['metadata']['name']} has no room for both stages at once "
                f"({', '.join(lacking)}), and one may keep the other waiting: lower "
                "cluster.resources, or have the quota raised"
            )
    return found


def _asked(job: Object, key: str) -> float:
    """
    What a pod of the Job counts for in a quota.

    See https://kubernetes.io/docs/concepts/policy/resource-quotas/#compute-resource-quota
    """
    if key in ("pods", "count/pods", "count/jobs.batch"):
        return 1
    section, _, resource = key.partition(".")  # `requests.nvidia.com/gpu`, or `cpu`
    if not resource:
        section, resource = "requests", section
    spec = job["spec"]["template"]["spec"]

    def of(container: Object) -> float:
        resources = container.get("resources", {}).get(section, {})
        return api_quantity(str(resources.get(resource, "0")))

    waiting = [of(container) for container in spec.get("initContainers", ())]
    return max([sum(map(of, spec["containers"])), *waiting])
