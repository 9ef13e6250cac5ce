"""From what the cluster shows to what it means. Pure: no clock, no cluster."""

from __future__ import annotations

from typing import get_args

from ftctl.cluster.attempts import attempt_reason, exit_code, failed_container, memory_limit
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import (
    Observed,
    condition,
    containers,
    event_time,
    is_over,
    labels,
    newest,
    unmet,
)
from ftctl.cluster.pending import creation_reason, pending_reason
from ftctl.cluster.workloads import is_planned
from ftctl.contract.clusterview import ClusterView, Reason, StageState, StageView
from ftctl.contract.exits import STOPPED
from ftctl.contract.labels import STAGE
from ftctl.contract.pods import WAIT
from ftctl.contract.status import Stage

_STAGES: tuple[Stage, ...] = get_args(Stage)
_RAISE_DEADLINE = "`ftctl resume` starts it again; it goes on from its last checkpoint."


def judge(namespace: str, observed: Observed) -> ClusterView:
    """The view of a run: of each stage its newest Job, in the order of the pipeline."""
    views = []
    for stage in _STAGES:
        job = newest(job for job in observed.jobs if labels(job).get(STAGE) == stage)
        if job is not None:
            views.append(stage_view(stage, job, observed))
    return ClusterView(namespace=namespace, stages=tuple(views))


def stage_view(stage: Stage, job: Object, observed: Observed) -> StageView:
    """The view of one Job."""
    pods = observed.pods_of(job)
    pod = pods[0] if pods else None
    failed = next((one for one in pods if has_failed(one)), None)
    state, reason = _state(job, pod, failed, observed)
    limits = [memory_limit(one, stage) for one in pods[:1]]
    return StageView(
        stage=stage,
        job=job["metadata"]["name"],
        state=state,
        reason=reason,
        pod=pod["metadata"]["name"] if pod else None,
        node=pod["spec"].get("nodeName") if pod else None,
        failures=int(job.get("status", {}).get("failed") or 0),
        last_failure=attempt_reason(failed, observed) if failed else None,
        exit_code=exit_code(failed) if failed else None,
        memory_limit=limits[0] if limits else None,
    )


def has_failed(pod: Object) -> bool:
    """Whether a pod is an attempt that failed; one that stopped with a checkpoint is none."""
    return pod["status"].get("phase") == "Failed" and exit_code(pod) != STOPPED


def _state(
    job: Object, pod: Object | None, failed: Object | None, observed: Observed
) -> tuple[StageState, Reason | None]:
    if job["metadata"].get("deletionTimestamp"):
        return "stopping", None
    if condition(job, "Complete") or condition(job, "SuccessCriteriaMet"):
        return "succeeded", None
    ended = condition(job, "Failed") or condition(job, "FailureTarget")
    if ended:
        return "failed", _failed_reason(job, ended, failed, observed)
    if job["spec"].get("suspend"):
        return "queued", _queued_reason(job, observed)
    if is_planned(job):
        return "waiting", None
    if pod is None or is_over(pod):
        return _between(job, failed, observed)
    reason = pending_reason(pod, observed)
    if reason is None and pod["status"].get("phase") == "Running":
        return "running", None
    return ("waiting", None) if _is_waiting(pod) else ("pending", reason)


def _between(
    job: Object, failed: Object | None, observed: Observed
) -> tuple[StageState, Reason | None]:
    """No pod lives: the first is to come, or the next after one that failed."""
    refused = creation_reason(job, observed)
    if failed is None:
        return "pending", refused
    ended = failed_container(failed)
    finished = str(ended["state"]["terminated"].get("finishedAt")) if ended else ""
    if refused and event_time(observed.events_of(job, "FailedCreate")[0]) > finished:
        return "pending", refused
    return "retrying", attempt_reason(failed, observed)


def _failed_reason(job: Object, ended: Object, failed: Object | None, observed: Observed) -> Reason:
    why = str(ended.get("reason") or "Failed")
    if why == "DeadlineExceeded":
        limit_s = job["spec"].get("activeDeadlineSeconds")
        return Reason(
            code=why, what=f"it took longer than the {limit_s} s it may", hint=_RAISE_DEADLINE
        )
    if failed is None:
        return Reason(code=why, what=str(ended.get("message") or why))
    reason = attempt_reason(failed, observed)
    attempts = int(job.get("status", {}).get("failed") or 0)
    if attempts < 2:
        return reason
    return reason.model_copy(
        update={"what": f"{attempts} attempts failed, the last: {reason.what}"}
    )


def _queued_reason(job: Object, observed: Observed) -> Reason:
    """Kueue holds a Job back by suspending it; its Workload says why."""
    meta = job["metadata"]
    # Of a JobSet the whole is queued, not its Jobs.
    queued = {meta.get("uid"), *(one.get("uid") for one in meta.get("ownerReferences") or ())}
    for workload in observed.workloads:
        owners = workload["metadata"].get("ownerReferences") or ()
        if not any(owner.get("uid") in queued for owner in owners):
            continue
        queue = workload["spec"].get("queueName")
        place = observed.places.get(workload["metadata"]["name"])
        held = unmet(workload, "QuotaReserved")
        what = f"it waits in the queue {queue}" + (f", place {place}" if place else "")
        why = str(held.get("message") or "") if held else ""
        return Reason(
            code="Queued",
            what=f"{what}: {why}" if why else what,
            hint=_queue_hint(held, str(queue)),
        )
    return Reason(
        code="Suspended",
        what="the Job is suspended",
        hint="A queue (cluster.queue) starts it when it is its turn.",
    )


def _queue_hint(held: Object | None, queue: str) -> str | None:
    if held and held.get("reason") == "Inadmissible":
        return f"`kubectl get localqueues` shows which there are; {queue} takes nothing now."
    return None


def _is_waiting(pod: Object) -> bool:
    return any(
        one["name"] == WAIT and one.get("state", {}).get("running") for one in containers(pod)
    )
