"""What is rendered, before a real API server, in a namespace as k8s/base makes one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.cluster.apply import apply, pod_of, preflight
from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import NAMESPACE
from ftctl.cluster.open import has_cluster, open_cluster
from ftctl.cluster.present import present_objects
from ftctl.errors import ClusterError
from ftctl.manifests.difference import differences
from ftctl.manifests.run import run_objects
from tests.run_files import RUN_ID, a_run

pytestmark = pytest.mark.skipif(not has_cluster(), reason="there is no kubeconfig: no cluster")
BASE = Path(__file__).parents[2] / "k8s" / "base"
SMALL = {"cpu": "100m", "memory": "256Mi"}
RUNS: dict[str, dict[str, Any]] = {
    "cpu": {"gpus": 0},
    "nodes": {"gpus": 0, "nodes": 2},
    "gpu": {"queue": "team", "ttl": 60},
    "claim": {"image_pull_secrets": ["registry"], "tolerations": [{"operator": "Exists"}]},
    "proxy": {"proxy": "http://proxy:3128", "ca_bundle": "ca.pem", "hf_secret": "keys"},
    "account": {"service_account": "mine", "node_selector": {"pool": "ml"}},
}


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return open_cluster()


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of k8s/base under a name of its own, with what the runs refer to."""
    name = f"ftctl-rendered-{uuid.uuid4().hex[:8]}"
    bodies = [
        yaml.safe_load((BASE / file).read_text())
        for file in (
            "namespace.yaml",
            "limitrange.yaml",
            "networkpolicy.yaml",
            "resourcequota.yaml",
        )
    ]
    bodies[0]["metadata"]["name"] = name
    for body in bodies[1:]:
        body["metadata"]["namespace"] = name
    meta = {"name": "keys", "namespace": name}
    bodies += [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"HF_TOKEN": "x"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**meta, "name": "mine"}},
    ]
    cluster.create(bodies[0])
    try:
        for body in bodies[1:]:
            cluster.create(body)
        yield name
    finally:
        cluster.delete(NAMESPACE, name)


def objects(namespace: str, **profile: Any) -> list[dict[str, Any]]:
    resources = {"train": SMALL, "convert": SMALL}
    run = a_run(
        cluster={"namespace": namespace, "resources": resources, **profile},
        storage={"secret": "keys"},
    )
    return run_objects(run, ca_pem="PEM" if "ca_bundle" in profile else None)


@pytest.mark.parametrize("name", RUNS)
def test_the_api_server_and_restricted_pod_security_take_everything(
    cluster: Cluster, namespace: str, name: str
) -> None:
    assert preflight(cluster, objects(namespace, **RUNS[name])) == []


def test_the_namespace_refuses_what_is_not_restricted(cluster: Cluster, namespace: str) -> None:
    on_the_node = {"kind": "hostPath", "name": "/mnt/models"}

    with pytest.raises(ClusterError, match="hostPath"):
        preflight(cluster, objects(namespace, cache=on_the_node))


def test_creating_a_run_again_changes_nothing_and_the_server_adds_only_defaults(
    cluster: Cluster, namespace: str
) -> None:
    # No node has this label: the pods stay pending, and no image is pulled.
    wanted = objects(namespace, gpus=0, node_selector={"ftctl.dev/none": "here"})

    assert len(apply(cluster, wanted)) == 5
    assert apply(cluster, wanted) == []
    live = present_objects(cluster, namespace, RUN_ID)
    assert [each.what for each in differences(wanted, live)] == ["same"] * 5


def test_no_pod_of_a_run_gets_a_token(cluster: Cluster, namespace: str) -> None:
    *_, train, convert = objects(namespace, service_account="mine", gpus=0)

    for job in (train, convert):
        made = cluster.create(pod_of(job), dry_run=True)
        volumes = [volume["name"] for volume in made["spec"]["volumes"]]
        assert volumes == ["config", "tmp", "work", "cache", "shm"]
