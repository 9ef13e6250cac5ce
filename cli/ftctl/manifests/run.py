"""A run as Kubernetes objects. Pure: equal runs give equal objects."""

from __future__ import annotations

import json
from typing import Any

from ftctl.contract.names import object_name
from ftctl.contract.pods import CA_FILE, CONFIG_FILE
from ftctl.contract.runfile import RunFile
from ftctl.errors import ManifestError
from ftctl.manifests.checks import refuse_unfit
from ftctl.manifests.group import group_objects
from ftctl.manifests.job import stage_job
from ftctl.manifests.jobset import job_set
from ftctl.manifests.metadata import Manifest, metadata
from ftctl.manifests.network import network_policy
from ftctl.manifests.pod import Names
from ftctl.manifests.podrun import pod_run
from ftctl.storage.runs import to_yaml

# https://kubernetes.io/docs/concepts/configuration/configmap/#motivation
_CONFIG_MAP_BYTES = 2**20


def run_objects(run: RunFile, *, ca_pem: str | None = None) -> list[dict[str, Any]]:
    """
    Everything a run is in a cluster, in the order to create it.

    Args:
        ca_pem: certificates of private authorities, where the profile or the store has some.
    Raises:
        ConfigError: the run cannot work in a cluster, or not yet.
        ManifestError: an object would be larger than Kubernetes takes.
    """
    refuse_unfit(run.config)
    config_map = _config_map(run, ca_pem)
    account = run.config.cluster.service_account
    names = Names(config_map["metadata"]["name"], account or run.run_id)
    objects = [
        *([] if account else [_service_account(run)]),
        config_map,
        network_policy(run),
        *group_objects(run),
        *_workloads(run, names),
    ]
    # Plain JSON values that share no part: they are the caller's now.
    return [json.loads(json.dumps(each)) for each in objects]


def _workloads(run: RunFile, names: Names) -> list[Manifest]:
    if run.config.cluster.engine == "jobset":
        return [job_set(run, names)]
    # First the one that the other waits for: a queue takes them in this order.
    return [stage_job(run, "train", names), stage_job(run, "convert", names)]


def _service_account(run: RunFile) -> Manifest:
    meta = metadata(run, run.run_id)
    meta["annotations"] |= run.config.cluster.service_account_annotations
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": meta,
        "automountServiceAccountToken": False,
    }


def _config_map(run: RunFile, ca_pem: str | None) -> Manifest:
    """What the pods read, under a name of its content: it never changes under a running pod."""
    data = {CONFIG_FILE: to_yaml(pod_run(run), without=["cluster"])}
    if ca_pem:
        data[CA_FILE] = ca_pem
    size = sum(len(text.encode()) for text in data.values())
    if size > _CONFIG_MAP_BYTES:
        raise ManifestError(
            f"the configuration of the run and its certificates take {size:,} bytes, "
            f"and a ConfigMap holds {_CONFIG_MAP_BYTES:,}",
            where=run.run_id,
            hint="Leave only the authorities that pods meet in the ca_bundle.",
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(run, object_name(run.run_id, "config", data)),
        "immutable": True,
        "data": data,
    }
