"""Many Jobs in a cluster that have ended, though nothing ran: for listings."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ftctl.cluster.kinds import NAMESPACE
from ftctl.cluster.open import open_cluster
from ftctl.manifests.run import run_objects
from ftctl.storage.parallel import each
from tests.run_files import a_run

# A Job that names another controller is left alone by Kubernetes' own (1.32 and later).
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#delegation-of-managing-a-job-object-to-external-controller
_NOBODY = "ftctl.dev/nobody"
_TIME = "2026-01-01T00:00:00Z"
_COMPLETE: dict[str, Any] = {
    "startTime": _TIME,
    "completionTime": _TIME,
    "succeeded": 1,
    "conditions": [
        {"type": kind, "status": "True", "lastTransitionTime": _TIME, "lastProbeTime": _TIME}
        for kind in ("SuccessCriteriaMet", "Complete")
    ],
}
_RUNNING: dict[str, Any] = {"startTime": _TIME, "active": 1, "ready": 1}


@contextmanager
def many_jobs(run_ids: Sequence[str], *, going_on: int) -> Iterator[str]:
    """
    A namespace with the convert Job of every run, as `submit` makes it; it goes at the end.

    Args:
        going_on: of the first so many the Job has not ended.
    """
    from kubernetes import client, config

    config.load_kube_config()
    batch, cluster = client.BatchV1Api(), open_cluster()
    namespace = f"ftctl-listing-{secrets.token_hex(4)}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def make(number: int) -> None:
        run = a_run(run_id=run_ids[number], cluster={"namespace": namespace, "gpus": 0})
        job = run_objects(run)[-1]
        job["spec"]["managedBy"] = _NOBODY
        made = cluster.create(job)
        status = _RUNNING if number < going_on else _COMPLETE
        name = made["metadata"]["name"]
        batch.patch_namespaced_job_status(name, namespace, {"status": status})

    try:
        each(make, range(len(run_ids)), threads=8)
        yield namespace
    finally:
        cluster.delete(NAMESPACE, namespace)
