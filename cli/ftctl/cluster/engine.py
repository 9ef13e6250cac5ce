"""Which engine a run gets where its profile leaves it open."""

from __future__ import annotations

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import MissingError
from ftctl.cluster.kinds import ACCESS_REVIEW, JOB_SET, Kind
from ftctl.contract.operational import ClusterConfig


def with_engine(profile: ClusterConfig, cluster: Cluster) -> ClusterConfig:
    """The profile with engine=jobset for auto, where JobSet is there and this user may use it."""
    if profile.engine != "auto":
        return profile
    usable = serves(cluster, JOB_SET) and may(cluster, "create", JOB_SET, profile.namespace)
    return profile.model_copy(update={"engine": "jobset" if usable else "job"})


def serves(cluster: Cluster, kind: Kind) -> bool:
    """Whether the API has the kind; asked of its group, which everybody may read."""
    try:
        found = cluster.read(f"/apis/{kind.group}/{kind.version}")
    except MissingError:
        return False
    return any(item["name"] == kind.plural for item in found.get("resources", ()))


def may(cluster: Cluster, verb: str, kind: Kind, namespace: str, part: str = "") -> bool:
    """Whether this user has a right on a kind, or on a subresource of it."""
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": kind.group,
        "resource": kind.plural,
        "subresource": part,
    }
    review = {
        "apiVersion": f"{ACCESS_REVIEW.group}/{ACCESS_REVIEW.version}",
        "kind": ACCESS_REVIEW.name,
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    return bool(cluster.create(review)["status"]["allowed"])
