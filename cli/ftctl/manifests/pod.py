"""The pod of a stage: restricted Pod Security, a read-only root, and no access to the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from ftctl import __version__
from ftctl.contract.labels import run_labels
from ftctl.contract.operational import CacheConfig
from ftctl.contract.pods import (
    CACHE_DIR,
    CONFIG_DIR,
    CONFIG_PATH,
    USER_ID,
    WAIT,
    WORK_DIR,
)
from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import Config
from ftctl.contract.status import Stage
from ftctl.manifests.environment import secret_sources, secret_variables, variables
from ftctl.manifests.group import group_variables
from ftctl.manifests.metadata import Manifest

_STAGES: tuple[Stage, ...] = ("train", "convert")
# Python and the AWS client: 61 MiB measured.
_WAIT_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "256Mi"},
    "limits": {"memory": "256Mi"},
}
SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_MOUNTS = [
    {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
    {"name": "tmp", "mountPath": "/tmp"},
    {"name": "work", "mountPath": WORK_DIR},
    {"name": "cache", "mountPath": CACHE_DIR},
    {"name": "shm", "mountPath": "/dev/shm"},
]


@dataclass(frozen=True)
class Names:
    """What a run's pods refer to."""

    config_map: str
    service_account: str


def pod_template(run: RunFile, stage: Stage, names: Names) -> Manifest:
    """
    The template of a stage's pods.

    Its labels leave the version out: an upgrade of ftctl alone makes no other Job.
    """
    cluster = run.config.cluster
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "serviceAccountName": names.service_account,
        "terminationGracePeriodSeconds": cluster.grace_period,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(run, stage)],
        "volumes": _volumes(run.config, names.config_map),
    }
    if stage == "convert":
        spec["initContainers"] = [_waiting(run)]
    selector = cluster.node_selector
    if stage == "convert" and cluster.node_selector_convert is not None:
        selector = cluster.node_selector_convert
    optional = {
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
        "nodeSelector": selector,
        "tolerations": cluster.tolerations,
        "priorityClassName": cluster.priority,
    }
    spec |= {key: value for key, value in optional.items() if value}
    return {"metadata": {"labels": run_labels(run.run_id, stage)}, "spec": spec}


def _container(run: RunFile, stage: Stage) -> Manifest:
    config = run.config
    images = {each: config.cluster.image_of(each, __version__) for each in _STAGES}
    found: Manifest = {
        "name": stage,
        "image": images[stage],
        "command": _command(stage),
        "env": [
            *variables(config, stage, images, group_variables(run) if stage == "train" else {}),
            *secret_variables(config),
        ],
        "envFrom": secret_sources(config, stage),
        "resources": _resources(config, stage),
        "securityContext": SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _MOUNTS,
    }
    return {key: value for key, value in found.items() if value != []}


def _waiting(run: RunFile) -> Manifest:
    """Holds the convert stage back until the train stage has handed over."""
    config = run.config
    found: Manifest = {
        "name": WAIT,
        "image": config.cluster.image_of("convert", __version__),
        "command": _command(WAIT),
        "env": variables(config, "convert", {}),
        "envFrom": secret_sources(config, None),
        "resources": _WAIT_RESOURCES,
        "securityContext": SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _MOUNTS,
    }
    return {key: value for key, value in found.items() if value != []}


def _command(what: str) -> list[str]:
    return ["python", "-m", "ftctl_trainer", what, "--config", CONFIG_PATH]


def _resources(config: Config, stage: Stage) -> Manifest:
    """Memory is limited to what is asked for; processor time and disk are not limited."""
    cluster = config.cluster
    asked = cluster.resources_of(stage)
    gpus = {cluster.gpu_resource: str(cluster.gpus)} if stage == "train" and cluster.gpus else {}
    requests = {"cpu": asked.cpu, "memory": asked.memory, **gpus}
    if asked.ephemeral_storage:
        requests["ephemeral-storage"] = asked.ephemeral_storage
    return {"requests": requests, "limits": {"memory": asked.memory, **gpus}}


def _volumes(config: Config, config_map: str) -> list[Manifest]:
    shm = {"medium": "Memory", "sizeLimit": config.cluster.shm_size}
    return [
        {"name": "config", "configMap": {"name": config_map}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "work", "emptyDir": {}},
        {"name": "cache", **_cache(config.cluster.cache)},
        {"name": "shm", "emptyDir": shm},
    ]


def _cache(cache: CacheConfig) -> Manifest:
    if cache.kind == "pvc":
        return {"persistentVolumeClaim": {"claimName": cache.name}}
    if cache.kind == "hostPath":
        return {"hostPath": {"path": cache.name, "type": "DirectoryOrCreate"}}
    return {"emptyDir": {}}
