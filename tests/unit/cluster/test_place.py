"""Where a run is, seen from outside and from inside of its cluster."""

from __future__ import annotations

import pytest

from ftctl.cluster import place
from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import UnreachableError
from ftctl.cluster.kinds import Object
from ftctl.cluster.place import Place, open_place
from ftctl.contract.placement import Placement
from tests.unit.cluster.memory_api import MemoryApi, memory_cluster

OUTSIDE, INSIDE = "https://lab.invalid:6443", "https://10.96.0.1:443"


def root_ca(uid: str) -> Object:
    """What Kubernetes puts into every namespace."""
    meta = {"name": "kube-root-ca.crt", "namespace": "ml", "uid": uid}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def here(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> list[tuple[str | None, str | None]]:
    """Make this the cluster that is found; return what it is asked for by."""
    asked: list[tuple[str | None, str | None]] = []

    def open_cluster(context: str | None, *, server: str | None = None) -> Cluster:
        asked.append((context, server))
        return cluster

    monkeypatch.setattr(place, "open_cluster", open_cluster)
    return asked


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param((OUTSIDE, "ml", "u1"), (INSIDE, "ml", "u1"), True, id="another-url"),
        pytest.param((INSIDE, "ml", "u1"), (INSIDE, "ml", "u2"), False, id="another-cluster"),
        pytest.param((OUTSIDE, "ml", "u1"), (OUTSIDE, "lab", "u1"), False, id="another-namespace"),
        pytest.param((OUTSIDE, "ml", None), (OUTSIDE, "ml", "u1"), True, id="an-older-record"),
        pytest.param((OUTSIDE, "ml", None), (INSIDE, "ml", "u1"), False, id="not-known"),
    ],
)
def test_two_placements_are_one_place(
    one: tuple[str, str, str | None], other: tuple[str, str, str | None], same: bool
) -> None:
    first, second = (
        Placement(server=server, namespace=namespace, identity=identity)
        for server, namespace, identity in (one, other)
    )
    assert first.is_same(second) is same


def test_a_placement_tells_the_namespace_from_others() -> None:
    found = Place(memory_cluster(root_ca("u1")), "ml", "demo-1").placement()

    assert found == Placement(context="lab", server=OUTSIDE, namespace="ml", identity="u1")


def test_a_user_who_may_not_look_has_no_identity() -> None:
    cluster = memory_cluster(root_ca("u1"), forbidden=["configmaps"])

    assert Place(cluster, "ml", "demo-1").placement().identity is None


def test_a_run_that_was_launched_inside_is_found_by_the_current_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = here(monkeypatch, memory_cluster(root_ca("u1")))

    found = open_place(Placement(server=INSIDE, namespace="ml", identity="u1"), "demo-1")

    assert (found.namespace, asked) == ("ml", [(None, None)])


def test_another_cluster_than_the_runs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, memory_cluster(root_ca("u2")))

    with pytest.raises(UnreachableError, match="in another cluster than lab"):
        open_place(Placement(server=INSIDE, namespace="ml", identity="u1"), "demo-1")


def test_a_pod_takes_the_cluster_it_is_in_only_for_the_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here(monkeypatch, Cluster(MemoryApi([root_ca("u2")]), context=None))

    with pytest.raises(UnreachableError):
        open_place(
            Placement(context="lab", server=OUTSIDE, namespace="ml", identity="u1"), "demo-1"
        )
