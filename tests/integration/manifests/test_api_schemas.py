"""Every object against the schemas of every supported version of the Kubernetes API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ftctl.config.compose import compose
from ftctl.manifests.run import run_objects
from tests.run_files import a_run

VERSIONS = ["1.32", "1.33", "1.34", "1.35", "1.36"]
BASE = Path(__file__).parents[3] / "k8s" / "base"
PROFILES = sorted(path.stem for path in (Path(__file__).parents[3] / "conf/cluster").glob("*.yaml"))
EVERYTHING = {
    "cluster": {
        "namespace": "ml",
        "queue": "team",
        "priority": "high",
        "gpu_resource": "nvidia.com/mig-1g.10gb",
        "image_train": "train@sha256:1",
        "resources": {"train": {"cpu": "500m", "memory": "1.5Gi", "ephemeral_storage": "9Gi"}},
        "node_selector": {"pool": "ml"},
        "node_selector_convert": {"pool": "cpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "service_account": "mine",
        "image_pull_secrets": ["registry"],
        "cache": {"kind": "pvc", "name": "models"},
        "env": {"A": "b"},
        "hf_secret": "hub/token",
        "ca_bundle": "ca.pem",
        "proxy": "http://proxy:3128",
        "hf_endpoint": "https://mirror:8443",
        "egress_ports": [9000],
        "ttl": 3600,
    },
    "storage": {"secret": "s3-keys", "endpoint_url": "http://s3:8333"},
    "tracking": {"secret": "tracker", "url": "http://mlflow:5000"},
}
RUNS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "cpu": {"cluster": {"gpus": 0}},
    "host-path": {"cluster": {"cache": {"kind": "hostPath", "name": "/mnt/models"}}},
    "everything": EVERYTHING,
    "several-nodes": {"cluster": {"gpus": 2, "nodes": 2}},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_valid(name: str, version: str) -> None:
    for body in run_objects(a_run(**RUNS[name]), ca_pem="PEM"):
        assert kubernetes_validate.validate(body, version, strict=True) == version


@pytest.mark.parametrize("profile", PROFILES)
def test_a_run_with_a_profile_of_ours_is_valid(profile: str) -> None:
    cluster = compose([f"cluster={profile}"]).cluster.model_dump(exclude_unset=True)
    for body in run_objects(a_run(cluster=cluster), ca_pem="PEM"):
        assert kubernetes_validate.validate(body, VERSIONS[-1], strict=True) == VERSIONS[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_namespace_for_runs_is_valid(version: str) -> None:
    files = [path for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"]

    assert len(files) == 4
    for path in files:
        body = yaml.safe_load(path.read_text())
        assert kubernetes_validate.validate(body, version, strict=True) == version


def test_a_misspelt_field_would_be_found() -> None:
    *_, job = run_objects(a_run())
    job["spec"]["backofLimit"] = 1

    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)
