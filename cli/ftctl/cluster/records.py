"""Keeps in the store what a cluster forgets: the logs and events of attempts that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ftctl.cluster.attempts import attempt_reason, exit_code, failed_container
from ftctl.cluster.client import Cluster
from ftctl.cluster.judge import has_failed, stage_view
from ftctl.cluster.kinds import Object
from ftctl.cluster.observe import events_about, tail
from ftctl.cluster.observed import Observed, event_time, labels
from ftctl.contract.clusterview import Reason
from ftctl.contract.labels import STAGE
from ftctl.contract.placement import FailureRecord
from ftctl.contract.status import Stage
from ftctl.storage.base import Store
from ftctl.storage.placement import failure_names, write_failure

Redact = Callable[[str], str]


def keep_failures(
    store: Store, cluster: Cluster, run_id: str, observed: Observed, redact: Redact
) -> list[FailureRecord]:
    """
    Write what is known of attempts that failed and are not in the store yet; return the new ones.

    Pods have no access to the cluster, so whoever looks from outside does this.

    Args:
        redact: hides what has the form of a secret.
    """
    if not any(_failed_pods(job, observed) or _view(job, observed) for job in observed.jobs):
        return []
    known = failure_names(store, run_id)
    records = []
    for job in observed.jobs:
        pods = [pod for pod in _failed_pods(job, observed) if pod["metadata"]["name"] not in known]
        records += [_of_pod(cluster, job, pod, observed, redact) for pod in reversed(pods)]
        # A Job that ran out of time deletes its pods.
        if not observed.pods_of(job) and job["metadata"]["name"] not in known:
            records += _of_job(cluster, job, observed, redact)
    return [record for record in records if write_failure(store, run_id, record)]


def _failed_pods(job: Object, observed: Observed) -> list[Object]:
    return [pod for pod in observed.pods_of(job) if has_failed(pod)]


def _view(job: Object, observed: Observed) -> bool:
    return stage_view(_stage(job), job, observed).state == "failed"


def _of_pod(
    cluster: Cluster, job: Object, pod: Object, observed: Observed, redact: Redact
) -> FailureRecord:
    name = pod["metadata"]["name"]
    lines = list(observed.logs.get(name) or tail(cluster, job["metadata"]["namespace"], pod))
    ended = failed_container(pod)
    finished = ended["state"]["terminated"].get("finishedAt") if ended else None
    with_log = Observed(logs={name: lines}, needs=observed.needs)
    return FailureRecord(
        stage=_stage(pod),
        pod=name,
        job=job["metadata"]["name"],
        time=_time(finished or pod["metadata"]["creationTimestamp"]),
        reason=_redacted(attempt_reason(pod, with_log), redact),
        exit_code=exit_code(pod),
        events=[*_events(cluster, job, redact), *_events(cluster, pod, redact)],
        log=[redact(line) for line in lines],
    )


def _of_job(
    cluster: Cluster, job: Object, observed: Observed, redact: Redact
) -> Sequence[FailureRecord]:
    view = stage_view(_stage(job), job, observed)
    if view.state != "failed" or view.reason is None:
        return []
    ended = [one for one in job["status"]["conditions"] if one["type"] == "Failed"]
    when = ended[0].get("lastTransitionTime") if ended else job["metadata"]["creationTimestamp"]
    return [
        FailureRecord(
            stage=view.stage,
            pod=None,
            job=view.job,
            time=_time(when),
            reason=_redacted(view.reason, redact),
            events=_events(cluster, job, redact),
        )
    ]


def _redacted(reason: Reason, redact: Redact) -> Reason:
    hint = None if reason.hint is None else redact(reason.hint)
    return reason.model_copy(update={"what": redact(reason.what), "hint": hint})


def _events(cluster: Cluster, item: Object, redact: Redact) -> list[str]:
    """`2026-01-01T00:00:00Z Warning FailedMount x3: ...`, oldest first."""
    return [
        f"{event_time(event)} {event.get('type')} {event.get('reason')}"
        + (f" x{event['count']}" if (event.get("count") or 1) > 1 else "")
        + f": {redact(str(event.get('message')))}"
        for event in sorted(events_about(cluster, item), key=event_time)
    ]


def _stage(item: Object) -> Stage:
    return "convert" if labels(item).get(STAGE) == "convert" else "train"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
