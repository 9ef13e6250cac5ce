"""The logs of a run: of its stages in their order, across retries, of several pods at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import MissingError, RefusedError, UnreachableError
from ftctl.cluster.kinds import POD, Object
from ftctl.cluster.observed import containers, is_over, labels
from ftctl.contract.labels import STAGE, run_selector
from ftctl.errors import ClusterError

POLL_S = 1.0
# After the end: the last lines of a pod may come a little later than its end.
_LAST_LOOKS = 3
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
_RANK = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class PodLine:
    """One line that a container printed. `source` names its pod for people: `train`, `train#2`."""

    source: str
    stage: str
    pod: str
    container: str
    text: str


def read_logs(
    cluster: Cluster, namespace: str, run_id: str, stage: str | None = None
) -> Iterator[PodLine]:
    """Yield what the pods that are there have printed so far, one pod after the other."""
    pods = _pods(cluster, namespace, run_id, stage)
    sources = name_sources(pods)
    for pod in pods:
        for container in _started(pod):
            yield from _container_lines(cluster, pod, container, sources, follow=False)


def follow_logs(
    cluster: Cluster,
    namespace: str,
    run_id: str,
    stage: str | None = None,
    *,
    ended: Callable[[], bool],
) -> Iterator[PodLine | None]:
    """
    Yield lines as they are printed, of every pod that comes, until the run is over.

    Args:
        ended: asked every POLL_S seconds; when it says so, what is left is still yielded. A
            container that goes on then, as one that waits for a stage that failed, is left.
    Yields:
        A line; or None about every POLL_S seconds, for whoever has something else to do.
    """
    follower = _Follower(cluster)
    looks = _LAST_LOOKS
    while looks:
        has_ended = ended()
        # What follows goes on; which pods are new is seen when the API server answers again.
        with suppress(UnreachableError):
            follower.see(_pods(cluster, namespace, run_id, stage))
        yield from follower.lines()
        looks = looks - 1 if has_ended else _LAST_LOOKS
        if has_ended and follower.is_idle:
            return
        yield None


def name_sources(pods: Sequence[Object]) -> dict[str, str]:
    """Names for people by pod: the stage, `.N` for a rank, `#N` from the second attempt on."""
    sources: dict[str, str] = {}
    attempts: dict[str, int] = {}
    for pod in pods:
        name = labels(pod).get(STAGE, "pod")
        rank = labels(pod).get(_RANK)
        name = f"{name}.{rank}" if rank else name
        attempts[name] = attempts.get(name, 0) + 1
        more = f"#{attempts[name]}" if attempts[name] > 1 else ""
        sources[pod["metadata"]["name"]] = name + more
    return sources


class _Follower:
    """One thread a container, all into one queue."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lines: queue.Queue[PodLine] = queue.Queue()
        self._threads: dict[tuple[str, str], threading.Thread] = {}
        self._pods: dict[str, Object] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no container is followed any more and no line is left."""
        return self._lines.empty() and not any(t.is_alive() for t in self._threads.values())

    def see(self, pods: Sequence[Object]) -> None:
        """Follow the containers that are new. Pods that are gone keep their place in the names."""
        self._pods |= {pod["metadata"]["name"]: pod for pod in pods}
        sources = name_sources(sorted(self._pods.values(), key=_created))
        for pod in pods:
            for container in _started(pod):
                key = (pod["metadata"]["uid"], container["name"])
                if key in self._threads:
                    continue
                self._threads[key] = threading.Thread(
                    target=self._follow, args=(pod, container, sources), daemon=True
                )
                self._threads[key].start()

    def lines(self) -> Iterator[PodLine]:
        """What came within the next POLL_S seconds."""
        until = time.monotonic() + POLL_S
        while (left := until - time.monotonic()) > 0:
            try:
                yield self._lines.get(timeout=left)
            except queue.Empty:
                return

    def _follow(self, pod: Object, container: Object, sources: dict[str, str]) -> None:
        for line in _container_lines(self._cluster, pod, container, sources, follow=True):
            self._lines.put(line)


def _container_lines(
    cluster: Cluster, pod: Object, container: Object, sources: dict[str, str], *, follow: bool
) -> Iterator[PodLine]:
    """The container before the last restart first; a connection that breaks is taken up again."""
    meta, name = pod["metadata"], str(container["name"])

    def line(text: str) -> PodLine:
        source, stage = sources[meta["name"]], labels(pod).get(STAGE, "")
        return PodLine(source, stage, meta["name"], name, text)

    try:
        if container.get("restartCount"):
            yield from map(line, cluster.log(meta["namespace"], meta["name"], name, previous=True))
        if not follow:
            yield from map(line, cluster.log(meta["namespace"], meta["name"], name))
            return
    except (MissingError, RefusedError):
        return  # The pod, or its log, is gone since it was listed.
    yield from map(line, _followed(cluster, pod, name))


def _followed(cluster: Cluster, pod: Object, container: str) -> Iterator[str]:
    """A container's lines until it ends, each once, over connections that break."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    last = ""
    while True:
        known = last
        try:
            for stamped in cluster.log(
                namespace, name, container, follow=True, timestamps=True, since=known or None
            ):
                stamp, _, text = stamped.partition(" ")
                # `since` counts in seconds, so the lines of that second come again. Stamps have
                # nine digits (RFC3339NanoFixed of the kubelet): their order is that of texts.
                if stamp > known:
                    last = stamp
                    yield text
        except (MissingError, RefusedError):
            return
        except ClusterError:
            time.sleep(POLL_S)
            continue
        try:
            present = cluster.find(POD, name, namespace)
        except ClusterError:
            time.sleep(POLL_S)
            continue
        if present is None or is_over(present) or not _is_running(present, container):
            return


def _is_running(pod: Object, container: str) -> bool:
    return any(
        one["name"] == container and one.get("state", {}).get("running") for one in containers(pod)
    )


def _started(pod: Object) -> list[Object]:
    """The containers that have a log."""
    return [
        one
        for one in containers(pod)
        if {"running", "terminated"} & set(one.get("state", {})) or one.get("restartCount")
    ]


def _pods(cluster: Cluster, namespace: str, run_id: str, stage: str | None) -> list[Object]:
    found = cluster.list(POD, namespace, labels=run_selector(run_id, stage))
    return sorted(found, key=_created)


def _created(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"]["creationTimestamp"]), str(pod["metadata"]["name"])
