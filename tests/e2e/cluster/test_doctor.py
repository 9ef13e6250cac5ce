"""`ftctl doctor` against a real cluster: what is ready, and what is named when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.labels import all_selector
from tests.e2e.cluster.conftest import create_keys
from tests.e2e.cluster.laptop import SECRET, Finished, Laptop
from tests.integration.s3_server import SECRET_KEY


def doctor(laptop: Laptop, *arguments: str) -> Finished:
    """Run it over the laptop's profile."""
    return laptop.ftctl("doctor", "--json", *laptop.settings, *arguments)


def found(done: Finished, check: str) -> list[tuple[str, str]]:
    """Status and text of a check's findings."""
    every: list[dict[str, Any]] = done.values["findings"]
    return [(item["status"], item["what"]) for item in every if item["check"] == check]


def test_all_is_ready_and_nothing_is_left_behind(laptop: Laptop, cluster: Cluster) -> None:
    done = doctor(laptop)
    assert (done.code, done.stderr, done.values["ok"]) == (0, "", True)
    assert found(done, "namespace") == [
        ("ok", f"{laptop.namespace} enforces Pod Security restricted, which pods meet")
    ]
    assert found(done, "secrets") == [("ok", f"Secret {SECRET} (storage.secret) is there")]
    images = " and ".join(laptop.images[stage] for stage in ("convert", "train"))
    assert found(done, "images") == [("ok", f"{images} can be pulled and started")]
    assert found(done, "storage in the cluster") == [("ok", "pods can write and read the store")]
    assert list(laptop.store().list()) == []
    for kind in (kinds.POD, kinds.CONFIG_MAP, kinds.NETWORK_POLICY, kinds.SERVICE_ACCOUNT):
        assert list(cluster.list(kind, laptop.namespace, labels=all_selector())) == []
    assert SECRET_KEY not in done.stdout


def test_it_says_the_same_in_text(laptop: Laptop) -> None:
    done = laptop.ftctl("doctor", "--no-pod", *laptop.settings)
    lines = done.stdout.splitlines()
    assert (done.code, done.stderr) == (0, "")
    assert (
        lines[1] == f"ok    namespace: {laptop.namespace} enforces Pod Security restricted, which "
        "pods meet"
    )
    assert {line.split()[0] for line in lines} == {"ok"}


def test_keys_that_the_server_does_not_know_are_found_from_inside(
    laptop: Laptop, cluster: Cluster
) -> None:
    create_keys(cluster, laptop.namespace, "wrong-secret-key")
    done = doctor(laptop)
    assert done.code == 6
    assert found(done, "secrets") == [
        (
            "warn",
            f"Secret {SECRET} (storage.secret) has another AWS_SECRET_ACCESS_KEY than this "
            "environment",
        )
    ]
    [(status, what)] = found(done, "storage in the cluster")
    assert status == "fail"
    assert "the secret key does not belong to the access key" in what
    assert done.stderr == (
        f"error: {laptop.namespace}: 1 of {len(done.values['findings'])} findings would make a run "
        "fail: storage in the cluster\n"
    )
    assert "wrong-secret-key" not in done.stdout


def test_a_store_that_only_this_machine_reaches_is_found(laptop: Laptop) -> None:
    port = laptop.endpoint_url.rpartition(":")[2]
    done = doctor(laptop, f"storage.endpoint_url=http://localhost:{port}")
    assert found(done, "storage")[0][0] == "ok"
    [(status, what)] = found(done, "storage in the cluster")
    assert (done.code, status) == (6, "fail")
    assert "the server cannot be reached" in what


@pytest.mark.parametrize(
    ("setting", "check", "what"),
    [
        pytest.param(
            "cluster.image_train=localhost/no-such-image:1",
            "images",
            "the image localhost/no-such-image:1 cannot be pulled: ",
            id="no-image",
        ),
        pytest.param(
            "cluster.gpus=1; cluster.gpu_resource=example.com/gpu",
            "gpu",
            "0 nodes have 1 example.com/gpu or more, and the run needs 1; the most",
            id="no-gpu",
        ),
        pytest.param(
            "cluster.node_selector={disk: tape}",
            "gpu",
            "no node has the labels of cluster.node_selector: disk=tape",
            id="no-such-node",
        ),
        pytest.param(
            "cluster.queue=nightly",
            "queue",
            "Kueue is not installed, and cluster.queue is nightly",
            id="no-kueue",
        ),
        pytest.param(
            "cluster.priority=urgent",
            "queue",
            "there is no PriorityClass urgent",
            id="no-priority-class",
        ),
        pytest.param(
            "storage.secret=other",
            "secrets",
            "there is no Secret other (storage.secret)",
            id="no-secret",
        ),
        pytest.param(
            "cluster.image_pull_secrets=[registry]",
            "secrets",
            "there is no Secret registry (cluster.image_pull_secrets)",
            id="no-pull-secret",
        ),
        pytest.param(
            "storage.url=s3://no-such-bucket/x",
            "storage",
            "from here: there is no such bucket (NoSuchBucket, ENDPOINT)",
            id="no-bucket",
        ),
        pytest.param(
            "storage.url=/tmp/runs",
            "storage",
            "/tmp/runs is a folder of this machine, which pods do not see",
            id="a-folder",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_a_fix(
    laptop: Laptop, setting: str, check: str, what: str
) -> None:
    if setting == "cluster.queue=nightly" and _has_kueue():
        pytest.skip("this cluster has Kueue")
    done = doctor(laptop, *setting.split("; "), "--timeout", "60")
    assert done.code == 6
    expected = what.replace("ENDPOINT", laptop.endpoint_url)
    failed = [item for item in done.values["findings"] if item["status"] == "fail"]
    [named] = [item for item in failed if item["check"] == check]
    assert named["what"].startswith(expected)
    assert named["fix"]


def _has_kueue() -> bool:
    from ftctl.cluster.failures import MissingError
    from ftctl.cluster.open import open_cluster

    try:
        open_cluster().read(f"/apis/{kinds.LOCAL_QUEUE.group}")
    except MissingError:
        return False
    return True


def test_a_quota_that_is_too_small_is_found_before_a_run(laptop: Laptop, cluster: Cluster) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": laptop.namespace},
            "spec": {"hard": {"requests.memory": "1Gi"}},
        }
    )
    done = doctor(laptop)
    assert done.code == 6
    [(status, what)] = found(done, "storage in the cluster")
    assert status == "fail"
    assert "the quota small does not allow it" in what


def test_no_such_namespace_and_no_such_cluster(laptop: Laptop, tmp_path: Path) -> None:
    done = doctor(laptop, "cluster.namespace=nowhere-at-all", "--no-pod")
    assert done.code == 6
    assert found(done, "namespace") == [("fail", "there is no namespace nowhere-at-all")]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "gone", "user": {}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
    }
    kubeconfig = tmp_path / "gone.yaml"
    kubeconfig.write_text(yaml.safe_dump(config))
    done = doctor(laptop.with_env(KUBECONFIG=str(kubeconfig)))
    assert done.code == 6
    assert found(done, "cluster")[0][0] == "fail"
    assert "the API server does not answer" in found(done, "cluster")[0][1]
    assert found(done, "storage in the cluster") == [
        ("warn", "no pod was tried, as what it needs is not there")
    ]


def test_rights_that_are_missing_are_named(
    laptop: Laptop, cluster: Cluster, tmp_path: Path
) -> None:
    """A user who may look at Jobs and pods, and make nothing."""
    kubeconfig = _limited_user(cluster, laptop.namespace, tmp_path)
    done = doctor(laptop.with_env(KUBECONFIG=str(kubeconfig)))
    assert done.code == 6
    missing, seldom = found(done, "permissions")
    assert missing == (
        "fail",
        "this user may not create configmaps, get configmaps, list configmaps, delete configmaps, "
        "create networkpolicies, get networkpolicies, list networkpolicies, delete "
        "networkpolicies, create jobs, delete jobs, create serviceaccounts, get serviceaccounts, "
        "list serviceaccounts, delete serviceaccounts, patch networkpolicies, patch "
        f"serviceaccounts in {laptop.namespace}",
    )
    assert seldom[0] == "warn"
    assert found(done, "namespace")[0][0] == "warn"
    assert found(done, "gpu")[0][0] == "warn"
    assert found(done, "secrets")[0][0] == "warn"


def _limited_user(cluster: Cluster, namespace: str, folder: Path) -> Path:
    from kubernetes import client, config

    meta = {"name": "viewer", "namespace": namespace}
    rules = [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    cluster.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    cluster.create(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "viewer"},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        }
    )
    api = client.CoreV1Api(config.new_client_from_config())
    token = api.create_namespaced_service_account_token("viewer", namespace, body={}).status.token
    loaded = yaml.safe_load(Path(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION).read_text())
    loaded["users"] = [{"name": user["name"], "user": {"token": token}} for user in loaded["users"]]
    path = folder / "viewer.yaml"
    path.write_text(yaml.safe_dump(loaded))
    return path
