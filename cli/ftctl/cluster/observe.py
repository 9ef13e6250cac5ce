"""One look at a run in its cluster, in as few requests as its state asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftctl.cluster.attempts import failed_container
from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ForbiddenError, MissingError
from ftctl.cluster.judge import judge
from ftctl.cluster.kinds import EVENT, JOB, POD, WORKLOAD, Object
from ftctl.cluster.observed import Observed, condition, is_over
from ftctl.cluster.workloads import ending, is_part, is_planned, job_sets, planned_jobs
from ftctl.contract.clusterview import ClusterView
from ftctl.contract.labels import run_selector
from ftctl.errors import ClusterError

# Of a failed pod's log: enough for an error and its traceback.
TAIL_LINES = 100
_PENDING_WORKLOADS = "/apis/visibility.kueue.x-k8s.io/v1beta1/namespaces/{}/localqueues/{}"


def look(
    cluster: Cluster, namespace: str, run_id: str, needs: Mapping[str, str] | None = None
) -> ClusterView:
    """
    A run as its cluster shows it now.

    Args:
        needs: the estimate of each stage's memory, for the message of an out-of-memory kill.
    Raises:
        ClusterError: the cluster cannot be asked.
    """
    return judge(namespace, observe(cluster, namespace, run_id, needs))


def observe(
    cluster: Cluster, namespace: str, run_id: str, needs: Mapping[str, str] | None = None
) -> Observed:
    """Read a run's Jobs, their pods, and of those that do not go on what says why."""
    selector = run_selector(run_id)
    jobs = _jobs(cluster, namespace, selector)
    pods = list(cluster.list(POD, namespace, labels=selector)) if jobs else []
    partial = Observed(jobs=jobs, pods=pods)
    halted = [job for job in jobs if _has_no_pod(job, partial)]
    pending = [pod for pod in pods if pod["status"].get("phase") == "Pending"]
    workloads = _workloads(cluster, namespace, jobs)
    return Observed(
        jobs=jobs,
        pods=pods,
        events=[event for item in (*halted, *pending) for event in events_about(cluster, item)],
        workloads=workloads,
        logs=_logs(cluster, namespace, partial),
        places=_places(cluster, namespace, workloads),
        needs=dict(needs or {}),
    )


def tail(cluster: Cluster, namespace: str, pod: Object) -> Sequence[str]:
    """The last lines of the container that failed; none where the node has no log any more."""
    ended = failed_container(pod)
    if ended is None:
        return ()
    name = pod["metadata"]["name"]
    try:
        return list(cluster.log(namespace, name, ended["name"], tail=TAIL_LINES))
    except ClusterError:
        # Never started, or its node is gone: what the pod's status says has to do.
        return ()


def events_about(cluster: Cluster, item: Object) -> list[Object]:
    """An object's events; none for a user who may not look at them."""
    meta = item["metadata"]
    try:
        return list(
            cluster.list(EVENT, meta["namespace"], fields=f"involvedObject.uid={meta['uid']}")
        )
    except ForbiddenError:
        return []


def _jobs(cluster: Cluster, namespace: str, selector: str) -> list[Object]:
    """A run's Jobs; those too that its JobSet will make."""
    jobs = list(cluster.list(JOB, namespace, labels=selector))
    if jobs and not any(map(is_part, jobs)):
        return jobs
    return [*jobs, *planned_jobs(job_sets(cluster, namespace, selector), jobs)]


def _logs(cluster: Cluster, namespace: str, partial: Observed) -> dict[str, Sequence[str]]:
    """Of each Job's newest pod that failed."""
    newest = []
    for job in partial.jobs:
        failed = [pod for pod in partial.pods_of(job) if pod["status"].get("phase") == "Failed"]
        newest += failed[:1]
    return {pod["metadata"]["name"]: tail(cluster, namespace, pod) for pod in newest}


def _has_no_pod(job: Object, partial: Observed) -> bool:
    ended = ending(job) or is_planned(job)
    return not ended and all(is_over(pod) for pod in partial.pods_of(job))


def _workloads(cluster: Cluster, namespace: str, jobs: Sequence[Object]) -> list[Object]:
    if not any(job["spec"].get("suspend") for job in jobs):
        return []
    try:
        return list(cluster.list(WORKLOAD, namespace))
    except (MissingError, ForbiddenError):
        return []  # Suspended by something else than Kueue, or by one that is not for this user.


def _places(cluster: Cluster, namespace: str, workloads: Sequence[Object]) -> dict[str, int]:
    """Places by workload: as Kueue's visibility API says, else counted here."""
    places: dict[str, int] = {}
    for queue in {str(one["spec"].get("queueName")) for one in workloads}:
        path = _PENDING_WORKLOADS.format(namespace, queue) + "/pendingworkloads"
        try:
            items = cluster.read(path).get("items") or ()
        except ClusterError:  # it is not served, or not to this user
            places |= _counted(workloads, queue)
            continue
        places |= {one["metadata"]["name"]: int(one["positionInLocalQueue"]) + 1 for one in items}
    return places


def _counted(workloads: Sequence[Object], queue: str) -> dict[str, int]:
    """
    Places in a local queue, in Kueue's order: priority, then age.

    https://kueue.sigs.k8s.io/docs/concepts/cluster_queue/#queueing-strategy
    """
    waiting = [
        one
        for one in workloads
        if str(one["spec"].get("queueName")) == queue
        and one["spec"].get("active", True)
        and not (condition(one, "QuotaReserved") or condition(one, "Finished"))
    ]
    waiting.sort(key=lambda one: one["metadata"].get("creationTimestamp", ""))
    waiting.sort(key=lambda one: -int(one["spec"].get("priority") or 0))
    return {one["metadata"]["name"]: place for place, one in enumerate(waiting, 1)}
