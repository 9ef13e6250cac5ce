"""
A run as one JobSet: the convert stage is created when the train stage is done, and waits in no pod.

https://jobset.sigs.k8s.io/docs/concepts/
"""

from __future__ import annotations

from typing import get_args

from ftctl.contract.labels import run_labels
from ftctl.contract.names import object_name
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stage
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
        # Pods of different stages do not talk to each other: no Service is made.
        "network": {"enableDNSHostnames": False},
        "replicatedJobs": [_stage(run, stage, names) for stage in _STAGES],
    }
    spec["replicatedJobs"][1]["dependsOn"] = [{"name": _STAGES[0], "status": "Complete"}]
    name = object_name(run.run_id, "set", spec)
    if cluster.ttl is not None:
        spec["ttlSecondsAfterFinished"] = cluster.ttl
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata(run, name, queue=cluster.queue),
        "spec": spec,
    }


def _stage(run: RunFile, stage: Stage, names: Names) -> Manifest:
    labels = run_labels(run.run_id, stage)
    template = {"metadata": {"labels": labels}, "spec": job_spec(run, stage, names)}
    return {"name": stage, "replicas": 1, "template": template}
