"""The launcher of a sweep, whole; and that it may what the chart's may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ftctl import __version__
from ftctl.manifests.launcher import RULES, launcher_objects
from tests.run_files import a_run

CHART = Path(__file__).parents[3] / "charts" / "ftctl" / "templates" / "access.yaml"
SWEEP_ID = "demo-sweep-0123456789ab"
LABELS = {
    "app.kubernetes.io/name": "ftctl",
    "app.kubernetes.io/managed-by": "ftctl",
    "app.kubernetes.io/instance": SWEEP_ID,
    "app.kubernetes.io/component": "launcher",
    "ftctl.dev/sweep": SWEEP_ID,
}
CLUSTER = {"image_convert": "convert@sha256:2", "namespace": "ml", "gpus": 1}
STORAGE = {"secret": "s3-keys", "endpoint_url": "https://s3.example.org:9000"}


def rendered(**cluster: Any) -> dict[str, dict[str, Any]]:
    run = a_run(cluster={**CLUSTER, **cluster}, storage=STORAGE)
    return {body["kind"]: body for body in launcher_objects(run, SWEEP_ID, parallel=3)}


def test_the_job_runs_the_sweep_from_its_pod() -> None:
    objects = rendered()
    job = objects["Job"]
    spec = job["spec"]["template"]["spec"]
    [container] = spec["containers"]

    assert list(objects) == [
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ConfigMap",
        "NetworkPolicy",
        "Job",
    ]
    assert re.fullmatch(rf"{SWEEP_ID}-launcher-[0-9a-f]{{5}}", job["metadata"]["name"])
    assert job["metadata"]["labels"] == {**LABELS, "app.kubernetes.io/version": __version__}
    assert job["spec"]["template"]["metadata"]["labels"] == LABELS
    assert container["image"] == "convert@sha256:2"
    assert container["command"] == [
        "ftctl",
        "sweep",
        SWEEP_ID,
        "--from-here",
        "--parallel=3",
        "--config-dir=/etc/ftctl",
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert "nvidia.com/gpu" not in str(job)
    assert spec["serviceAccountName"] == SWEEP_ID
    assert spec["automountServiceAccountToken"] is True


def test_what_would_fail_again_is_not_tried_again() -> None:
    [fail, ignore] = rendered()["Job"]["spec"]["podFailurePolicy"]["rules"]

    assert fail == {
        "action": "FailJob",
        "onExitCodes": {"operator": "NotIn", "values": [5, 6, 137, 143]},
    }
    assert ignore["action"] == "Ignore"


def test_it_finds_the_store_and_the_namespace_and_nothing_secret() -> None:
    [text] = rendered()["ConfigMap"]["data"].values()
    settings = yaml.safe_load(text)

    assert settings["cluster"] == {"namespace": "ml"}
    assert settings["storage"]["url"] == "s3://bucket/runs"
    assert settings["storage"]["endpoint_url"] == "https://s3.example.org:9000"


def test_it_may_reach_the_store_and_the_api_server() -> None:
    [_, tcp] = rendered()["NetworkPolicy"]["spec"]["egress"]

    assert {one["port"] for one in tcp["ports"]} == {443, 6443, 9000}


def test_it_may_what_the_charts_launcher_may() -> None:
    text = CHART.read_text()
    rules = text[text.index("rules:") : text.index("---", text.index("rules:"))]
    chart = yaml.safe_load(rules)["rules"]

    assert chart == RULES
    assert not any("secrets" in rule["resources"] for rule in RULES)


def test_more_at_once_is_another_job_and_how_long_it_stays_is_not() -> None:
    run = a_run(cluster=CLUSTER, storage=STORAGE)
    name = rendered()["Job"]["metadata"]["name"]
    [*_, more] = launcher_objects(run, SWEEP_ID, parallel=4)

    assert more["metadata"]["name"] != name
    assert rendered(ttl=60)["Job"]["metadata"]["name"] == name
    assert rendered(ttl=60)["Job"]["spec"]["ttlSecondsAfterFinished"] == 60


def test_certificates_of_the_profile_go_along() -> None:
    run = a_run(cluster={**CLUSTER, "ca_bundle": "ours.pem"}, storage=STORAGE)
    objects = launcher_objects(run, SWEEP_ID, parallel=1, ca_pem="PEM")
    data = next(body for body in objects if body["kind"] == "ConfigMap")["data"]

    assert data["ca.pem"] == "PEM"
    assert yaml.safe_load(data["config.yaml"])["storage"]["ca_bundle"] == "/etc/ftctl/ca.pem"


@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_every_object_is_valid(version: str) -> None:
    for body in rendered(image_pull_secrets=["pull"], node_selector={"a": "b"}).values():
        assert kubernetes_validate.validate(body, version, strict=True) == version
