"""The exit codes of containers as they end: of a deleted pod nothing is left a moment later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ftctl.cluster.observed import containers

# A watch that ends is begun again, until nobody wants it any more.
_WATCH_S = 5


@contextmanager
def watched_exit_codes(namespace: str) -> Iterator[dict[str, int]]:
    """Exit codes by `pod/container`, filled in the background."""
    found: dict[str, int] = {}
    ending = threading.Event()
    thread = threading.Thread(target=_watch, args=(namespace, found, ending), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ending.set()
        thread.join()


def _watch(namespace: str, found: dict[str, int], ending: threading.Event) -> None:
    from kubernetes import client, config, watch

    config.load_kube_config()
    api, watcher = client.CoreV1Api(), watch.Watch()
    while not ending.is_set():
        for event in watcher.stream(api.list_namespaced_pod, namespace, timeout_seconds=_WATCH_S):
            pod = event["raw_object"]
            for one in containers(pod):
                if ended := one["state"].get("terminated"):
                    found[f"{pod['metadata']['name']}/{one['name']}"] = ended["exitCode"]
