"""What goes wrong in a cluster is named, with the fix, while somebody still looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.layout import RunLayout
from ftctl.storage.placement import read_failures
from tests.e2e.cluster.conftest import create_keys
from tests.e2e.cluster.laptop import SECRET, Laptop, stage_of, until

# From when Kubernetes knows. Pods take their time before: they start Python and meet the store.
NAMED_WITHIN_S = 30
ATTEMPT_S = 120


def reason_of(laptop: Laptop, run_id: str, seconds: float, stage: str = "train") -> dict[str, Any]:
    """The reason that `status` gives for a stage, as soon as it gives one."""
    found = until(
        lambda: stage_of(laptop.status(run_id), stage),
        lambda seen: bool(seen.get("reason") or seen.get("last_failure")),
        seconds,
    )
    reason: dict[str, Any] = found["reason"] or found["last_failure"]
    return reason


def test_a_missing_secret_is_refused_and_named(cluster: Cluster, laptop: Laptop) -> None:
    cluster.delete(kinds.SECRET, SECRET, laptop.namespace)

    refused = laptop.ftctl("submit", "--yes", *laptop.settings)
    assert refused.code == 6
    assert f"there is no Secret {SECRET} in the namespace {laptop.namespace}" in refused.stderr
    assert list(cluster.list(kinds.JOB, laptop.namespace)) == []

    reason = reason_of(laptop, laptop.submit("--unchecked"), NAMED_WITHIN_S)
    assert reason["code"] == "NoSecret"
    assert reason["what"] == f"there is no Secret {SECRET} in the namespace {laptop.namespace}"
    assert "ftctl secrets set" in reason["hint"]


def test_a_wrong_key_is_named_and_kept(cluster: Cluster, laptop: Laptop) -> None:
    create_keys(cluster, laptop.namespace, "not-the-key")
    run_id = laptop.submit()

    reason = reason_of(laptop, run_id, ATTEMPT_S)

    assert reason["code"] == "Exit5"
    # The first request is a HEAD, whose refusal has no body that says more.
    assert "access denied (403" in reason["what"]
    assert "check the keys given" in reason["hint"]
    kept = until(lambda: read_failures(laptop.store(), run_id), bool, NAMED_WITHIN_S)
    assert {record.exit_code for record in kept} == {5}
    assert all(record.log and record.events for record in kept)


def test_an_endpoint_that_only_the_laptop_reaches_is_refused_and_named(laptop: Laptop) -> None:
    port = laptop.endpoint_url.rpartition(":")[2]
    local = f"storage.endpoint_url=http://127.0.0.1:{port}"

    refused = laptop.ftctl("submit", "--yes", *laptop.settings, local)
    assert refused.code == 3
    assert "127.0.0.1 is this machine, and in a pod it is the pod" in refused.stderr

    reason = reason_of(laptop, laptop.submit("--unchecked", local), ATTEMPT_S)
    assert reason["code"] == "Exit5"
    assert "the server cannot be reached" in reason["what"]


def test_an_image_that_does_not_exist_is_named(laptop: Laptop) -> None:
    run_id = laptop.submit("cluster.image_train=ftctl-e2e/none:1")

    reason = reason_of(laptop, run_id, NAMED_WITHIN_S + 30)

    assert reason["code"] in ("NoImage", "ImagePrivate", "ImagePull")
    assert "ftctl-e2e/none:1" in reason["what"]
    assert "cluster.image_train" in reason["hint"]


def test_a_quota_that_is_too_small_is_refused_and_named(cluster: Cluster, laptop: Laptop) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": laptop.namespace},
            "spec": {"hard": {"requests.memory": "1Gi"}},
        }
    )

    refused = laptop.ftctl("submit", "--yes", *laptop.settings)
    assert refused.code == 6
    assert "the quota small does not allow it" in refused.stderr

    reason = reason_of(laptop, laptop.submit("--unchecked"), NAMED_WITHIN_S)
    assert reason["code"] == "QuotaExceeded"
    assert "requests.memory=4Gi" in reason["what"]
    assert "limited to requests.memory=1Gi" in reason["what"]


def test_a_gpu_that_no_node_has_is_named(laptop: Laptop) -> None:
    run_id = laptop.submit("cluster.gpus=1", "cluster.gpu_resource=example.com/none")

    reason = reason_of(laptop, run_id, NAMED_WITHIN_S)

    assert reason["code"] == "Unschedulable"
    assert "Insufficient example.com/none" in reason["what"]
    assert "lower cluster.gpus" in reason["hint"]


def test_a_user_without_permission_learns_which(cluster: Cluster, laptop: Laptop) -> None:
    limited = laptop.with_env(KUBECONFIG=str(_kubeconfig(cluster, laptop)))

    refused = limited.ftctl("submit", "--yes", *laptop.settings)

    user = f"system:serviceaccount:{laptop.namespace}:guest"
    assert refused.code == 6
    assert (
        f"no permission: {user} may not list jobs.batch in the namespace {laptop.namespace}"
        in refused.stderr
    )


def test_an_out_of_memory_kill_is_named_and_more_memory_is_another_job(
    cluster: Cluster, laptop: Laptop
) -> None:
    little = ("cluster.resources.train.memory=48Mi", "cluster.backoff_limit=0")
    failed = laptop.ftctl("submit", "--yes", "--wait", *laptop.settings, *little)

    assert failed.code == 7
    assert "out of memory: it needed more than its limit of 48Mi" in failed.stderr
    assert "the estimate is" in failed.stderr
    [listed] = laptop.ftctl("list", "--json", *laptop.storage).values["runs"]
    run_id = listed["run_id"]
    assert listed["state"] == "failed"
    first = stage_of(laptop.status(run_id), "train")["job"]

    same = laptop.ftctl("submit", "--yes", *laptop.settings, *little)
    assert (same.code, "tries again" in same.stderr) == (7, True)

    assert laptop.submit() == run_id
    second = stage_of(laptop.status(run_id), "train")["job"]
    assert second != first
    jobs = {job["metadata"]["name"] for job in cluster.list(kinds.JOB, laptop.namespace)}
    assert first not in jobs
    assert second in jobs
    [kept] = read_failures(laptop.store(), run_id)
    assert (kept.reason.code, kept.job) == ("OOMKilled", first)
    assert laptop.store().stat(RunLayout(run_id).failed) is None


def _kubeconfig(cluster: Cluster, laptop: Laptop) -> Path:
    """A kubeconfig of a service account that may do nothing."""
    from kubernetes import client, config

    account = {"name": "guest", "namespace": laptop.namespace}
    cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    config.load_kube_config()
    token = client.CoreV1Api().create_namespaced_service_account_token(
        "guest", laptop.namespace, {"spec": {"expirationSeconds": 3600}}
    )
    present = yaml.safe_load(Path(_current_kubeconfig()).read_text(encoding="utf-8"))
    present["users"] = [{"name": "guest", "user": {"token": token.status.token}}]
    for context in present["contexts"]:
        context["context"]["user"] = "guest"
    path = laptop.folder / "guest.kubeconfig"
    path.write_text(yaml.safe_dump(present), encoding="utf-8")
    return path


def _current_kubeconfig() -> str:
    import os

    return os.environ["KUBECONFIG"]
