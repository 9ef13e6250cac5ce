"""A run's place in a cluster: where it was submitted, opened to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ForbiddenError, UnreachableError
from ftctl.cluster.judge import judge
from ftctl.cluster.kinds import CONFIG_MAP, Object
from ftctl.cluster.observe import observe
from ftctl.cluster.open import open_cluster
from ftctl.cluster.records import keep_failures
from ftctl.cluster.workloads import workloads
from ftctl.contract.clusterview import ClusterView
from ftctl.contract.labels import run_selector
from ftctl.contract.placement import Placement
from ftctl.contract.status import Stage
from ftctl.storage.base import NotFoundError, Store
from ftctl.storage.index import mark_run
from ftctl.storage.runs import read_run

_ROOT_CA = "kube-root-ca.crt"


@dataclass(frozen=True)
class Place:
    """A run in a namespace of a cluster."""

    cluster: Cluster
    namespace: str
    run_id: str
    needs: Mapping[str, str] = field(default_factory=dict)
    """The estimate of each stage's memory, for the message of an out-of-memory kill."""

    def placement(self) -> Placement:
        """What the store keeps of it. Raises ClusterError: the cluster cannot be asked."""
        return Placement(
            context=self.cluster.context,
            server=self.cluster.server,
            namespace=self.namespace,
            identity=namespace_identity(self.cluster, self.namespace),
            needs=dict(self.needs),
        )

    def workloads(self) -> list[Object]:
        """The run's Jobs, or its JobSets."""
        return workloads(self.cluster, self.namespace, run_selector(self.run_id))

    def __str__(self) -> str:
        return f"{self.cluster.context or self.cluster.server}/{self.namespace}"


def open_place(placement: Placement, run_id: str) -> Place:
    """
    Open the cluster that a run was submitted to.

    From the outside a cluster has another URL than from the inside: there the current context is
    taken, and must lead to the same namespace.

    Raises:
        UnreachableError: this machine knows no way to it.
    """
    inside = placement.context is None
    cluster = open_cluster(placement.context, server=None if inside else placement.server)
    if inside or cluster.context is None:
        _refuse_other(cluster, placement)
    return Place(cluster, placement.namespace, run_id, placement.needs)


def namespace_identity(cluster: Cluster, namespace: str) -> str | None:
    """
    The uid of what every namespace has, and whoever may submit may read; None where it is not.

    https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
    """
    try:
        found = cluster.find(CONFIG_MAP, _ROOT_CA, namespace)
    except ForbiddenError:
        return None
    return str(found["metadata"]["uid"]) if found else None


def _refuse_other(cluster: Cluster, placement: Placement) -> None:
    known = placement.identity
    found = namespace_identity(cluster, placement.namespace) if known else None
    if found is not None and found != known:
        raise UnreachableError(
            f"the run is in another cluster than {cluster.context or cluster.server}",
            where=placement.namespace,
            hint="It was launched inside its cluster: make that the current context of the "
            "kubeconfig (`kubectl config use-context`).",
        )


def look_and_keep(place: Place, store: Store, redact: Callable[[str], str]) -> ClusterView:
    """
    The run as its cluster shows it; what the cluster will forget is written to the store.

    Args:
        redact: hides what has the form of a secret.
    Raises:
        ClusterError: the cluster cannot be asked.
        StorageError: the store cannot be written.
    """
    observed = observe(place.cluster, place.namespace, place.run_id, place.needs)
    view = judge(place.namespace, observed)
    keep_failures(store, place.cluster, place.run_id, observed, redact)
    if view.failed:
        _mark_failed(store, place.run_id, view.failed.stage)
    return view


def _mark_failed(store: Store, run_id: str, stage: Stage) -> None:
    """Its pods are gone, and were perhaps killed: nobody else can say so to those who list runs."""
    try:
        run = read_run(store, run_id)
    except NotFoundError:
        return
    mark_run(store, run, "failed", stage, unless=("failed", "cancelled", "succeeded"))
