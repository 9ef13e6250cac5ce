"""A stage as a Job: which failures are tried again, and for how long."""

from __future__ import annotations

from ftctl.contract.exits import NEVER_RETRIED, STOPPED
from ftctl.contract.names import object_name
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stage
from ftctl.manifests.metadata import Manifest, metadata
from ftctl.manifests.pod import Names, pod_template

# The first rule that fits decides. What fits none, an OOM kill (137) among it, counts.
_FAILURE_POLICY: Manifest = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {"operator": "In", "values": sorted(NEVER_RETRIED)},
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        {
            "action": "Ignore",
            "onExitCodes": {"operator": "In", "values": [STOPPED]},
        },
    ]
}


def stage_job(run: RunFile, stage: Stage, names: Names) -> Manifest:
    """
    The Job of a stage, named by its spec.

    The time that a finished Job stays is left out of the name: it can be changed in place, and a
    rendered Job is to be the submitted one.
    """
    cluster = run.config.cluster
    spec = job_spec(run, stage, names)
    name = object_name(run.run_id, stage, spec)
    if cluster.ttl is not None:
        spec["ttlSecondsAfterFinished"] = cluster.ttl
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(run, name, stage=stage, queue=cluster.queue),
        "spec": spec,
    }


def job_spec(run: RunFile, stage: Stage, names: Names) -> Manifest:
    """The spec of a stage's Job, without the time that it stays."""
    cluster = run.config.cluster
    pods = cluster.nodes if stage == "train" else 1
    return {
        # Pods that train together are numbered. One that is lost is made again, and the others end
        # by exit code 75 and are made again with it: all go on from the last checkpoint.
        "completionMode": "Indexed" if pods > 1 else "NonIndexed",
        "completions": pods,
        "parallelism": pods,
        "backoffLimit": cluster.backoff_limit,
        "activeDeadlineSeconds": cluster.deadline,
        # Two pods of a stage would only wait for one another.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _FAILURE_POLICY,
        "template": pod_template(run, stage, names),
    }
