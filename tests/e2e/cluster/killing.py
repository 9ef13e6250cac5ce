"""kill -9 of what runs in a pod, from within: no access to the node is needed."""

from __future__ import annotations

# A container's first process ignores signals from its own process namespace. The kernel's own
# SIGKILL it cannot ignore: that of a limit on processor time, which has run out already.
_KILL = "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))"
# Of several processes the first may use so little that it takes long; the others can be killed.
_KILL_ALL = f"{_KILL}; import os; os.kill(-1, 9)"

# To start Python where the processors are busy.
_EXEC_S = 60


def kill(namespace: str, pod: str, container: str) -> None:
    """Kill the first process of a container; it must have worked for a second."""
    _run(namespace, pod, container, _KILL)


def kill_all(namespace: str, pod: str, container: str) -> None:
    """Kill every process of a container, its first one soon."""
    _run(namespace, pod, container, _KILL_ALL)


def _run(namespace: str, pod: str, container: str, code: str) -> None:
    from kubernetes import client, config
    from kubernetes.stream import stream

    config.load_kube_config()
    inside = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec,
        pod,
        namespace,
        container=container,
        command=["python", "-c", code],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    try:
        inside.run_forever(timeout=_EXEC_S)
        assert inside.read_all() == ""
    finally:
        # Its own close leaves the socket open where the server closed first.
        inside.sock.shutdown()
