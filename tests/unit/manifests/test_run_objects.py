"""What a run is in a cluster, whole."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from ftctl import __version__
from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import Config
from ftctl.manifests.podrun import pod_run
from ftctl.manifests.run import run_objects
from tests.run_files import HASH, RUN_ID, a_run

RUN_LABELS = {
    "app.kubernetes.io/name": "ftctl",
    "app.kubernetes.io/managed-by": "ftctl",
    "app.kubernetes.io/instance": RUN_ID,
    "ftctl.dev/run": RUN_ID,
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
MOUNTS = [
    {"name": "config", "mountPath": "/etc/ftctl", "readOnly": True},
    {"name": "tmp", "mountPath": "/tmp"},
    {"name": "work", "mountPath": "/work"},
    {"name": "cache", "mountPath": "/cache"},
    {"name": "shm", "mountPath": "/dev/shm"},
]
ENVIRONMENT = [
    {"name": "FTCTL_LOG", "value": "json"},
    {"name": "FTCTL_THREADS", "value": "4"},
    {"name": "PYTHONUNBUFFERED", "value": "1"},
    {"name": "HOME", "value": "/work"},
    {"name": "TMPDIR", "value": "/work"},
    {"name": "FTCTL_CACHE", "value": "/cache/ftctl"},
    {"name": "HF_HOME", "value": "/cache/huggingface"},
    {"name": "XDG_CACHE_HOME", "value": "/cache/xdg"},
    {"name": "TORCHINDUCTOR_CACHE_DIR", "value": "/cache/inductor"},
    {"name": "TRITON_CACHE_DIR", "value": "/cache/triton"},
]
IMAGES = [
    {"name": "FTCTL_IMAGE_TRAIN", "value": "train@sha256:1"},
    {"name": "FTCTL_IMAGE_CONVERT", "value": "convert@sha256:2"},
]
KEYS = [{"secretRef": {"name": "s3-keys"}}]
TOKEN = {
    "name": "HF_TOKEN",
    "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}},
}
PROFILE = {
    "image_train": "train@sha256:1",
    "image_convert": "convert@sha256:2",
    "namespace": "ml",
    "hf_secret": "hub",
    "resources": {
        "train": {"ephemeral_storage": "3Gi"},
        "convert": {"ephemeral_storage": "4Gi"},
    },
}


def head(name: str, stage: str | None = None) -> dict[str, Any]:
    component = {"app.kubernetes.io/component": stage, "ftctl.dev/stage": stage} if stage else {}
    return {
        "name": name,
        "namespace": "ml",
        "labels": {**RUN_LABELS, **component, "app.kubernetes.io/version": __version__},
        "annotations": {"ftctl.dev/content-hash": HASH},
    }


def generated(body: dict[str, Any], part: str) -> str:
    """The name of an object whose last digits are made of its content."""
    name: str = body["metadata"]["name"]
    assert re.fullmatch(rf"{RUN_ID}-{part}-[0-9a-f]{{5}}", name)
    return name


def command(what: str) -> list[str]:
    return ["python", "-m", "ftctl_trainer", what, "--config", "/etc/ftctl/config.yaml"]


def job(name: str, stage: str, config_map: str, pod: dict[str, Any]) -> dict[str, Any]:
    labels = {**RUN_LABELS, "app.kubernetes.io/component": stage, "ftctl.dev/stage": stage}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": head(name, stage),
        "spec": {
            "completionMode": "NonIndexed",
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 4,
            "activeDeadlineSeconds": 604800,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3, 8]}},
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}},
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    "serviceAccountName": RUN_ID,
                    "terminationGracePeriodSeconds": 120,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 10001,
                        "runAsGroup": 10001,
                        "fsGroup": 10001,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumes": [
                        {"name": "config", "configMap": {"name": config_map}},
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "work", "emptyDir": {}},
                        {"name": "cache", "emptyDir": {}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                    ],
                    **pod,
                },
            },
        },
    }


def container(name: str, image: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "command": command(name),
        "envFrom": KEYS,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": MOUNTS,
        **fields,
    }


def test_a_run_on_a_gpu_is_five_objects() -> None:
    run = a_run(cluster=PROFILE, storage={"secret": "s3-keys"})

    account, config_map, policy, train, convert = run_objects(run)

    assert account == {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": head(RUN_ID),
        "automountServiceAccountToken": False,
    }
    text = config_map["data"].pop("config.yaml")
    assert config_map == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": head(generated(config_map, "config")),
        "immutable": True,
        "data": {},
    }
    assert RunFile.model_validate(yaml.safe_load(text)) == pod_run(run)
    assert policy == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": head(RUN_ID),
        "spec": {
            "podSelector": {"matchLabels": {"ftctl.dev/run": RUN_ID}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                {
                    "ports": [
                        {"protocol": "UDP", "port": 53},
                        {"protocol": "TCP", "port": 53},
                        {"protocol": "UDP", "port": 5353},
                        {"protocol": "TCP", "port": 5353},
                    ]
                },
                {"ports": [{"protocol": "TCP", "port": 443}]},
            ],
        },
    }
    train_container = container(
        "train",
        "train@sha256:1",
        env=[*ENVIRONMENT, TOKEN],
        resources={
            "requests": {
                "cpu": "4",
                "memory": "32Gi",
                "nvidia.com/gpu": "1",
                "ephemeral-storage": "3Gi",
            },
            "limits": {"memory": "32Gi", "nvidia.com/gpu": "1"},
        },
    )
    convert_container = container(
        "convert",
        "convert@sha256:2",
        env=[*ENVIRONMENT, *IMAGES, TOKEN],
        resources={
            "requests": {"cpu": "4", "memory": "32Gi", "ephemeral-storage": "4Gi"},
            "limits": {"memory": "32Gi"},
        },
    )
    waiting = container(
        "wait",
        "convert@sha256:2",
        env=ENVIRONMENT,
        resources={
            "requests": {"cpu": "50m", "memory": "256Mi"},
            "limits": {"memory": "256Mi"},
        },
    )
    name = config_map["metadata"]["name"]
    assert train == job(generated(train, "train"), "train", name, {"containers": [train_container]})
    assert convert == job(
        generated(convert, "convert"),
        "convert",
        name,
        {"initContainers": [waiting], "containers": [convert_container]},
    )


def test_what_pods_read_knows_nothing_of_the_machine_it_was_described_on() -> None:
    here = a_run(
        cluster={"namespace": "ml", "resources": {"train": {"memory": "64Gi"}}},
        storage={"profile": "mine", "secret": "s3-keys", "ca_bundle": "/home/me/ca.pem"},
        paths={"data_dir": "/home/me/data", "final_weights_path": "/home/me/out"},
        dataset={"train": "/home/me/data/train.json", "eval": ["/home/me/data/eval.json"]},
        testing={"test_dataset": "/home/me/test.json", "output_test_file": "/home/me/answers"},
        model={"model_name": "/home/me/base", "qtype": "q8_0"},
        quantize={"verify": {"thresholds": {"q8_0": LIMITS, "q4_1": LIMITS}}},
    )
    here = here.model_copy(
        update={
            "model": here.model.model_copy(
                update={"name": "/home/me/base", "kind": "folder", "path": "/home/me/base"}
            )
        }
    )

    read = pod_run(here)

    assert "/home/me" not in read.model_dump_json()
    assert read == here.model_copy(
        update={
            "created": None,
            "model": here.model.model_copy(update={"name": "base", "path": None}),
            "data": here.data.model_copy(update={"sources": ["train.json"]}),
            "config": Config.model_validate(
                {
                    "storage": {
                        "url": "s3://bucket/runs",
                        "secret": "s3-keys",
                        "ca_bundle": "/etc/ftctl/ca.pem",
                    },
                    "dataset": {"train": f"sha256:{here.data.digest}"},
                    "model": {
                        "model_name": "base",
                        "revision": here.model.revision,
                        "qtype": "q8_0",
                    },
                    "quantize": {"verify": {"thresholds": {"q8_0": LIMITS}}},
                }
            ),
        }
    )


def test_a_pinned_revision_makes_the_same_objects_as_the_one_it_was_resolved_from() -> None:
    assert run_objects(a_run(model={"revision": "e" * 40})) == run_objects(a_run())


LIMITS = {"mean_kl": 0.1, "p99_kl": 0.2, "top1_agreement": 0.9, "perplexity_ratio": 1.1}


def names(**sections: Any) -> dict[str, str]:
    """Kind and stage to name of the objects of a run."""
    return {
        f"{body['kind']} {body['metadata']['labels'].get('ftctl.dev/stage', '')}".strip(): body[
            "metadata"
        ]["name"]
        for body in run_objects(a_run(**sections))
    }


@pytest.mark.parametrize(
    ("sections", "changed"),
    [
        pytest.param(
            {"cluster": {"resources": {"train": {"memory": "64Gi"}}}}, {"Job train"}, id="memory"
        ),
        pytest.param({"cluster": {"ttl": 60}}, set(), id="ttl-can-be-changed-in-place"),
        pytest.param({"cluster": {"namespace": "other"}}, set(), id="namespace"),
        pytest.param({"cluster": {"queue": "team"}}, set(), id="queue-is-a-label"),
        pytest.param(
            {"cluster": {"backoff_limit": 1}}, {"Job train", "Job convert"}, id="both-jobs"
        ),
        pytest.param({"cluster": {"image_convert": "mine:1"}}, {"Job convert"}, id="image"),
        pytest.param(
            {"storage": {"region": "eu-west-1"}},
            {"ConfigMap", "Job train", "Job convert"},
            id="what-pods-read-renames-those-who-read-it",
        ),
    ],
)
def test_names_change_with_what_cannot_be_changed(
    sections: dict[str, Any], changed: set[str]
) -> None:
    before, after = names(), names(**sections)

    assert {key for key in before if before[key] != after[key]} == changed


def test_when_and_where_a_run_was_first_seen_changes_no_object() -> None:
    run = a_run()

    assert run_objects(run.model_copy(update={"created": None})) == run_objects(run)


def test_no_part_is_shared_between_objects() -> None:
    run = a_run()
    objects = run_objects(run)
    objects[3]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].clear()
    objects[3]["spec"]["podFailurePolicy"].clear()

    assert objects[4] == run_objects(run)[4]
    assert run_objects(run)[3] != objects[3]
