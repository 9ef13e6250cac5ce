"""The launcher of a sweep as Kubernetes objects: a pod that creates its runs and never trains."""

from __future__ import annotations

import json
from typing import Any

from ftctl import __version__
from ftctl.contract import labels
from ftctl.contract.names import object_name
from ftctl.contract.pods import (
    CA_FILE,
    CACHE_DIR,
    CONFIG_DIR,
    CONFIG_FILE,
    USER_ID,
    WORK_DIR,
)
from ftctl.contract.runfile import RunFile
from ftctl.contract.yamltext import yaml_text
from ftctl.errors import ClusterError, StorageError
from ftctl.manifests.environment import secret_sources, variables
from ftctl.manifests.metadata import Manifest
from ftctl.manifests.network import DNS_RULE, IDENTITY_RULE, egress_ports
from ftctl.manifests.pod import SECURITY
from ftctl.manifests.podrun import pod_run

LAUNCHER = "launcher"
# Where API servers listen behind their Service.
_API_PORT = 6443
_READ = ["get", "list", "watch"]
# What runs are made of, and what is looked at to tell how they stand; the chart's launcher may
# the same (charts/ftctl/templates/access.yaml). No Secret can be read.
RULES: list[Manifest] = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", *_READ, "delete"]},
    {
        "apiGroups": ["jobset.x-k8s.io"],
        "resources": ["jobsets"],
        "verbs": ["create", *_READ, "delete"],
    },
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", *_READ, "delete"]},
    {
        "apiGroups": [""],
        "resources": ["serviceaccounts", "services"],
        "verbs": ["create", *_READ, "patch", "delete"],
    },
    {
        "apiGroups": ["networking.k8s.io"],
        "resources": ["networkpolicies"],
        "verbs": ["create", *_READ, "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["create", *_READ, "delete"]},
    {
        "apiGroups": [""],
        "resources": ["pods/log", "persistentvolumeclaims"],
        "verbs": ["get"],
    },
    {
        "apiGroups": [""],
        "resources": ["events", "resourcequotas", "limitranges"],
        "verbs": ["list"],
    },
    {
        "apiGroups": ["kueue.x-k8s.io"],
        "resources": ["localqueues", "workloads"],
        "verbs": ["get", "list"],
    },
]
# A look at the runs now and then, and at the scores of hundreds of children.
_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "512Mi"},
    "limits": {"memory": "1Gi"},
}
# Store and cluster may answer the next time; what else fails would fail again. A pod that the
# kubelet killed ends with 137 or 143.
_TRIED_AGAIN = [StorageError.exit_code, ClusterError.exit_code, 137, 143]
_ATTEMPTS = 10


def launcher_objects(
    run: RunFile, sweep_id: str, *, parallel: int, ca_pem: str | None = None
) -> list[dict[str, Any]]:
    """
    Everything the launcher of a sweep is, in the order to create it. Pure.

    Args:
        run: one of the sweep, for store and profile; all of them have the same.
        parallel: runs at once.
        ca_pem: certificates of private authorities, where the profile or the store has some.
    Raises:
        ConfigError: a URL of the profile is none.
    """
    config_map = _config_map(run, sweep_id, ca_pem)
    pod = _pod(run, sweep_id, config_map["metadata"]["name"], parallel)
    objects = [
        *_access(run, sweep_id),
        config_map,
        _network(run, sweep_id),
        _job(run, sweep_id, pod),
    ]
    return [json.loads(json.dumps(each)) for each in objects]


def _metadata(run: RunFile, sweep_id: str, name: str) -> Manifest:
    marks = {**labels.launcher_labels(sweep_id), labels.VERSION: __version__}
    return {"name": name, "namespace": run.config.cluster.namespace, "labels": marks}


def _access(run: RunFile, sweep_id: str) -> list[Manifest]:
    meta = _metadata(run, sweep_id, sweep_id)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            **meta,
            "annotations": dict(run.config.cluster.service_account_annotations),
        },
        "automountServiceAccountToken": False,
    }
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": RULES}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": sweep_id},
        "subjects": [{"kind": "ServiceAccount", "name": sweep_id, "namespace": meta["namespace"]}],
    }
    return [account, role, binding]


def _config_map(run: RunFile, sweep_id: str, ca_pem: str | None) -> Manifest:
    """The configuration that finds the store and the namespace; the runs are in the store."""
    settings = {
        "storage": pod_run(run).config.storage.model_dump(mode="json"),
        "cluster": {"namespace": run.config.cluster.namespace},
    }
    data = {CONFIG_FILE: yaml_text(settings), **({CA_FILE: ca_pem} if ca_pem else {})}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(run, sweep_id, object_name(sweep_id, "config", data)),
        "immutable": True,
        "data": data,
    }


def _network(run: RunFile, sweep_id: str) -> Manifest:
    ports = sorted({*egress_ports(run.config), _API_PORT})
    egress = [DNS_RULE, {"ports": [{"protocol": "TCP", "port": port} for port in ports]}]
    if not run.config.storage.secret:
        egress.append(IDENTITY_RULE)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(run, sweep_id, sweep_id),
        "spec": {
            "podSelector": {"matchLabels": {labels.SWEEP: sweep_id}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    }


def _job(run: RunFile, sweep_id: str, pod: Manifest) -> Manifest:
    spec: Manifest = {
        "backoffLimit": _ATTEMPTS,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"operator": "NotIn", "values": _TRIED_AGAIN},
                },
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
        "template": {"metadata": {"labels": labels.launcher_labels(sweep_id)}, "spec": pod},
    }
    name = object_name(sweep_id, LAUNCHER, spec)
    if run.config.cluster.ttl is not None:
        spec["ttlSecondsAfterFinished"] = run.config.cluster.ttl
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(run, sweep_id, name),
        "spec": spec,
    }


def _pod(run: RunFile, sweep_id: str, config_map: str, parallel: int) -> Manifest:
    config = run.config
    container: Manifest = {
        "name": LAUNCHER,
        "image": config.cluster.image_of("convert", __version__),
        "command": [
            "ftctl",
            "sweep",
            sweep_id,
            "--from-here",
            f"--parallel={parallel}",
            f"--config-dir={CONFIG_DIR}",
        ],
        "workingDir": WORK_DIR,
        "env": variables(config, "convert", {}),
        "envFrom": secret_sources(config, None),
        "resources": _RESOURCES,
        "securityContext": SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "work", "mountPath": WORK_DIR},
            {"name": "cache", "mountPath": CACHE_DIR},
        ],
    }
    spec: Manifest = {
        # It runs nobody's code, so it has the token that pods of a run do not get.
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "serviceAccountName": sweep_id,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{key: value for key, value in container.items() if value != []}],
        "volumes": [
            {"name": "config", "configMap": {"name": config_map}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "work", "emptyDir": {}},
            {"name": "cache", "emptyDir": {}},
        ],
    }
    selector = config.cluster.node_selector_convert
    optional = {
        "imagePullSecrets": [{"name": name} for name in config.cluster.image_pull_secrets],
        "nodeSelector": config.cluster.node_selector if selector is None else selector,
        "tolerations": config.cluster.tolerations,
    }
    return {**spec, **{key: value for key, value in optional.items() if value}}
