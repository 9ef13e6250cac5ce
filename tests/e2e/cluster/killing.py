"""kill -9 of what runs in a pod, from within: no access to the node is needed."""

from __future__ import annotations

# A container's first process ignores signals from its own process namespace. The kernel's own
# SIGKILL it cannot ignore: that of a limit on processor time, which has run out already.
_KILL = "import resource; resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))"

# To start Python where the processors are busy.
_EXEC_S = 60


def kill(namespace: str, pod: str, container: str) -> None:
    """Kill the first process of a container; it must have worked for a second."""
    from kubernetes import client, config
    from kubernetes.stream import stream

    config.load_kube_config()
    inside = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec,
        pod,
        namespace,
        container=container,
        command=["python", "-c", _KILL],
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
