"""
A real cluster, named by KUBECONFIG: a namespace a test, an S3 server that its pods reach.

FTCTL_E2E_IMAGE_TRAIN and FTCTL_E2E_IMAGE_CONVERT name the images, which the nodes must have or be
able to pull.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.open import open_cluster
from tests.e2e.cluster.laptop import SECRET, Laptop, dump
from tests.e2e.cluster.releases import Release, pushed, values_of
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, running_server

GPU = "nvidia.com/gpu"
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure, so that the namespace is shown before it goes."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that KUBECONFIG names; without one, these tests are skipped."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster")
    return open_cluster()


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """The images by stage."""
    named = {
        stage: os.environ.get(f"FTCTL_E2E_IMAGE_{stage.upper()}", "")
        for stage in ("train", "convert")
    }
    if not all(named.values()):
        pytest.skip("FTCTL_E2E_IMAGE_TRAIN and FTCTL_E2E_IMAGE_CONVERT name no images")
    return named


@pytest.fixture
def s3(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """
    An S3 server at the address by which nodes and pods reach this machine (3 s).

    One a test: a run writes some hundred MB, and the server has room for few of them.
    """
    with reachable_server(cluster, tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def keys() -> Iterator[None]:
    """The S3 keys in the environment, as users have them, and nothing else of AWS."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own."""
    with new_namespace(cluster) as name:
        yield name
        if request.node.stash.get(_FAILED, False):
            dump(cluster, name)


@pytest.fixture
def laptop(
    namespace: str, s3: S3Server, keys: None, images: dict[str, str], tmp_path: Path
) -> Laptop:
    """A user's machine: `ftctl`, a kubeconfig, the S3 keys, and nothing else of AWS."""
    return Laptop.of(tmp_path, namespace, s3.endpoint_url, images)


@pytest.fixture
def bare(cluster: Cluster, laptop: Laptop) -> Release:
    """A release without inputs, where nothing but what policies allow leaves the namespace."""
    meta = {"name": "default-deny", "namespace": laptop.namespace}
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    cluster.create({**kind, "metadata": meta, "spec": spec})
    return Release(cluster, laptop, values_of(laptop, []))


@pytest.fixture
def release(bare: Release) -> Release:
    """The same, and the store has its inputs."""
    return replace(bare, values=values_of(bare.laptop, pushed(bare.laptop)))


@pytest.fixture
def gpu(cluster: Cluster) -> Iterator[None]:
    """A GPU that a node says it has; if none does, one says so for the test, without the device."""
    nodes = [node for node in cluster.list(kinds.NODE) if not node["spec"].get("taints")]
    if any(int(node["status"]["allocatable"].get(GPU, 0)) for node in nodes):
        yield
        return
    name = nodes[0]["metadata"]["name"]
    try:
        _advertise(name, "1")
        yield
    finally:
        _advertise(name, None)


def reachable_server(cluster: Cluster, folder: Path) -> AbstractContextManager[S3Server]:
    """An S3 server at the address by which nodes and pods reach this machine."""
    return running_server(folder, address_towards(cluster))


def address_towards(cluster: Cluster) -> str:
    """This machine's address on the way to the API server; nothing is sent."""
    url = urlsplit(cluster.server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((url.hostname, url.port or 443))
        return str(probe.getsockname()[0])


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """Make a namespace that enforces restricted Pod Security, with the S3 keys; it goes again."""
    name = f"ftctl-e2e-{secrets.token_hex(4)}"
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.create(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": enforced}}
    )
    try:
        create_keys(cluster, name, SECRET_KEY)
        yield name
    except AssertionError:
        dump(cluster, name)
        raise
    finally:
        cluster.delete(kinds.NAMESPACE, name)


def create_keys(cluster: Cluster, namespace: str, secret_key: str) -> None:
    """The Secret with the store's keys, or other keys in the one that is there."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "stringData": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secret_key},
    }
    if cluster.find(kinds.SECRET, SECRET, namespace):
        cluster.patch(body)
    else:
        cluster.create(body)


def _advertise(node: str, gpus: str | None) -> None:
    """https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/"""
    from kubernetes import client, config

    config.load_kube_config()
    status = {"capacity": {GPU: gpus}, "allocatable": {GPU: gpus}}
    client.CoreV1Api().patch_node_status(node, {"status": status})
