"""A train stage of several GPUs, and of several pods that meet."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl import __version__
from ftctl.contract.names import RUN_NAME_LENGTH
from ftctl.errors import ManifestError
from ftctl.manifests.run import run_objects
from tests.run_files import HASH, RUN_ID, a_run

PODS = {"ftctl.dev/run": RUN_ID, "ftctl.dev/stage": "train"}
HEAD = {
    "name": f"{RUN_ID}-train",
    "namespace": "ml",
    "labels": {
        "app.kubernetes.io/name": "ftctl",
        "app.kubernetes.io/managed-by": "ftctl",
        "app.kubernetes.io/instance": RUN_ID,
        "app.kubernetes.io/component": "train",
        "app.kubernetes.io/version": __version__,
        **PODS,
    },
    "annotations": {"ftctl.dev/content-hash": HASH},
}


def objects(**profile: Any) -> list[dict[str, Any]]:
    return run_objects(a_run(cluster={"namespace": "ml", "engine": "job", **profile}))


def environment(job: dict[str, Any]) -> dict[str, str]:
    [container] = job["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def of_group(job: dict[str, Any]) -> dict[str, str]:
    names = ("FTCTL_PROCESSES", "FTCTL_NODES", "FTCTL_RENDEZVOUS")
    return {name: value for name, value in environment(job).items() if name in names}


@pytest.mark.parametrize(
    ("profile", "want"),
    [
        pytest.param({}, {}, id="one-gpu"),
        pytest.param({"gpus": 0}, {}, id="a-cpu"),
        pytest.param({"gpus": 4}, {"FTCTL_PROCESSES": "4"}, id="four-gpus"),
        pytest.param(
            {"gpus": 2, "nodes": 2},
            {
                "FTCTL_PROCESSES": "2",
                "FTCTL_NODES": "2",
                "FTCTL_RENDEZVOUS": f"{RUN_ID}-train:29500",
            },
            id="two-nodes-of-two",
        ),
        pytest.param(
            {"gpus": 0, "nodes": 4},
            {
                "FTCTL_PROCESSES": "1",
                "FTCTL_NODES": "4",
                "FTCTL_RENDEZVOUS": f"{RUN_ID}-train:29500",
            },
            id="four-nodes-without-a-gpu",
        ),
    ],
)
def test_only_the_train_stage_is_told_of_its_processes(
    profile: dict[str, Any], want: dict[str, str]
) -> None:
    *_, train, convert = objects(**profile)

    assert of_group(train) == want
    assert of_group(convert) == {}


def test_several_gpus_of_one_node_are_one_pod_and_nothing_else_changes() -> None:
    *before, _, convert = objects()
    *same, four, convert_too = objects(gpus=4)

    assert (before, convert) == (same, convert_too)
    [container] = four["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert (four["spec"]["completions"], four["spec"]["completionMode"]) == (1, "NonIndexed")


def test_several_nodes_are_pods_with_numbers_that_meet_at_the_first() -> None:
    *before, policy, service, network, train, convert = objects(nodes=2)
    *alone, _, _ = objects()

    assert [*before, policy] == alone
    assert {
        key: train["spec"][key] for key in ("completionMode", "completions", "parallelism")
    } == {
        "completionMode": "Indexed",
        "completions": 2,
        "parallelism": 2,
    }
    assert convert["spec"]["completions"] == 1
    assert service == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": HEAD,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {**PODS, "batch.kubernetes.io/job-completion-index": "0"},
            "ports": [{"name": "rendezvous", "protocol": "TCP", "port": 29500}],
        },
    }
    others = [{"podSelector": {"matchLabels": PODS}}]
    assert network == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": HEAD,
        "spec": {
            "podSelector": {"matchLabels": PODS},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": others}],
            "egress": [{"to": others}],
        },
    }


def test_a_lost_worker_and_those_that_lost_it_are_made_again_and_a_bad_config_ends_the_run() -> (
    None
):
    *_, train, _ = objects(nodes=2)

    assert [(rule["action"], *rule) for rule in train["spec"]["podFailurePolicy"]["rules"]] == [
        ("FailJob", "action", "onExitCodes"),
        ("Ignore", "action", "onPodConditions"),
        ("Ignore", "action", "onExitCodes"),
    ]
    assert [
        rule["onExitCodes"]["values"]
        for rule in train["spec"]["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    ] == [[3, 8], [75]]


def test_settings_of_nccl_come_from_the_profile() -> None:
    *_, train, _ = objects(nodes=2, env={"NCCL_SOCKET_IFNAME": "eth0", "NCCL_DEBUG": "WARN"})

    found = environment(train)
    assert (found["NCCL_SOCKET_IFNAME"], found["NCCL_DEBUG"]) == ("eth0", "WARN")


def test_a_jobset_holds_the_same_job() -> None:
    *before, job_set = objects(engine="jobset", nodes=2)
    *same, train, _ = objects(nodes=2)

    assert before == same
    assert job_set["spec"]["replicatedJobs"][0]["template"]["spec"] == train["spec"]


def test_a_jobset_whose_numbered_pods_would_have_too_long_names_is_refused() -> None:
    run = a_run(
        run_id=f"{'a' * RUN_NAME_LENGTH}-0123456789ab", cluster={"engine": "jobset", "nodes": 2}
    )

    with pytest.raises(ManifestError, match=r"6 characters too long for a JobSet of 2 nodes"):
        run_objects(run)
