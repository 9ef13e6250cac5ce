"""What one look at the cluster brings back of a run: objects as the API has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ftctl.cluster.kinds import Object

# https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-labels
JOB_NAME = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Observed:
    """The Jobs of a run and what belongs to them. Logs are the last lines, by pod."""

    jobs: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    workloads: Sequence[Object] = ()
    logs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)
    """Places in the queue, from 1, by workload."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """The estimate of a stage's memory, by stage, for the message of an out-of-memory kill."""

    def pods_of(self, job: Object) -> list[Object]:
        """A Job's pods, newest first; of the same second, one that lives goes first."""
        name = job["metadata"]["name"]
        mine = [pod for pod in self.pods if labels(pod).get(JOB_NAME) == name]
        return sorted(mine, key=_age, reverse=True)

    def events_of(self, item: Object, reason: str) -> list[Object]:
        """An object's events of this reason, newest first."""
        name = item["metadata"]["name"]
        found = [
            event
            for event in self.events
            if event["involvedObject"].get("name") == name and event.get("reason") == reason
        ]
        return sorted(found, key=event_time, reverse=True)


def newest(items: Iterable[Object]) -> Object | None:
    """The object that was created last."""
    return max(items, key=lambda item: str(item["metadata"]["creationTimestamp"]), default=None)


def labels(item: Object) -> dict[str, str]:
    """An object's labels."""
    return item["metadata"].get("labels") or {}


def condition(item: Object, kind: str) -> Object | None:
    """The condition of this type, if it holds."""
    for one in item.get("status", {}).get("conditions") or ():
        if one["type"] == kind and one["status"] == "True":
            return dict(one)
    return None


def unmet(item: Object, kind: str) -> Object | None:
    """The condition of this type, if it is said not to hold."""
    for one in item.get("status", {}).get("conditions") or ():
        if one["type"] == kind and one["status"] == "False":
            return dict(one)
    return None


def containers(pod: Object) -> list[Object]:
    """The statuses of all containers, those that run first in front."""
    status = pod.get("status", {})
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


def event_time(event: Object) -> str:
    """When an event was last seen, as RFC 3339."""
    return str(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
    )


def is_over(pod: Object) -> bool:
    """Whether no container of the pod will run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _age(pod: Object) -> tuple[str, bool]:
    return str(pod["metadata"]["creationTimestamp"]), not is_over(pod)
