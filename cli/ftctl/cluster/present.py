"""What a run has in a cluster, as it was created."""

from __future__ import annotations

from ftctl.cluster.client import Cluster
from ftctl.cluster.delete import KINDS
from ftctl.cluster.kinds import JOB, Object
from ftctl.cluster.workloads import is_part, job_sets, with_kind
from ftctl.contract.labels import run_selector


def present_objects(cluster: Cluster, namespace: str, run_id: str) -> list[Object]:
    """Every object of a run. Raises ClusterError."""
    return selected_objects(cluster, namespace, run_selector(run_id))


def selected_objects(cluster: Cluster, namespace: str, selector: str) -> list[Object]:
    """
    Every object with these labels, of the kinds that runs are made of. Raises ClusterError.

    Jobs that a JobSet made are not among them: they are its own.
    """
    jobs = (job for job in cluster.list(JOB, namespace, labels=selector) if not is_part(job))
    return [
        *job_sets(cluster, namespace, selector),
        *(with_kind(JOB, job) for job in jobs),
        *(
            with_kind(kind, body)
            for kind in KINDS
            for body in cluster.list(kind, namespace, labels=selector)
        ),
    ]
