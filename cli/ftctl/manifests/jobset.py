"""
A run as one JobSet: the convert stage is created when the train stage is done, and waits in no pod.

https://jobset.sigs.k8s.io/docs/concepts/
"""

from __future__ import annotations

from typing import get_args

from ftctl.contract.labels import run_labels
from ftctl.contract.names import DNS_LABEL_LENGTH, object_name
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stage
from ftctl.errors import ManifestError
from ftctl.manifests.job import job_spec
from ftctl.manifests.metadata import Manifest, metadata
from ftctl.manifests.pod import Names

_STAGES: tuple[Stage, ...] = get_args(Stage)


def job_set(run: RunFile, names: Names) -> Manifest:
    """The JobSet of a run, named by its spec but for the time that it stays, as a Job is."""
    cluster = run.config.cluster
    spec: Manifest = {
        # Jobs try their pods again themselves; a Job that failed has failed for good.
        "failurePolicy": {"maxRestarts": 0},
        # Pods of different stages do not talk to each other, and those of one stage meet at a
        # Service of the run's own.
        "network": {"enableDNSHostnames": False},
        "replicatedJobs": [_stage(run, stage, names) for stage in _STAGES],
    }
    spec["replicatedJobs"][1]["dependsOn"] = [{"name": _STAGES[0], "status": "Complete"}]
    name = object_name(run.run_id, "set", spec)
    _refuse_long_pod_names(name, cluster.nodes)
    if cluster.ttl is not None:
        spec["ttlSecondsAfterFinished"] = cluster.ttl
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata(run, name, queue=cluster.queue),
        "spec": spec,
    }


def _refuse_long_pod_names(name: str, nodes: int) -> None:
    """JobSet refuses numbered pods whose name no label could hold. Raises ManifestError."""
    longest = f"{name}-{_STAGES[0]}-0-{nodes - 1}-00000"
    if nodes > 1 and len(longest) > DNS_LABEL_LENGTH:
        over = len(longest) - DNS_LABEL_LENGTH
        raise ManifestError(
            f"the run's name is {over} characters too long for a JobSet of {nodes} nodes",
            where="name",
            hint="Shorten it, or set cluster.engine=job.",
        )


def _stage(run: RunFile, stage: Stage, names: Names) -> Manifest:
    labels = run_labels(run.run_id, stage)
    template = {"metadata": {"labels": labels}, "spec": job_spec(run, stage, names)}
    return {"name": stage, "replicas": 1, "template": template}
