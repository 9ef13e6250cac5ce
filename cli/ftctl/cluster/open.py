"""Finds the cluster that is meant: a context of the kubeconfig, or the one this pod runs in."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import UnreachableError, api_errors

_DEFAULT = "~/.kube/config"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def has_cluster() -> bool:
    """Whether this machine knows any cluster; cheap, and reads no credentials."""
    return _in_cluster() or any(path.is_file() for path in _kubeconfigs())


def open_cluster(
    context: str | None = None, *, server: str | None = None, patient: bool = True
) -> Cluster:
    """
    Connect to a cluster. Nothing is asked of it yet.

    Args:
        context: name in the kubeconfig; None takes its current one, or this pod's own cluster.
        server: URL of the API server that is meant, as a run remembers it: another context that
            leads there is taken where `context` does not.
        patient: repeat what gets no answer; False is for what can do without.
    Raises:
        UnreachableError: there is no kubeconfig, or no such context in it.
    """
    from kubernetes import client, config

    paths = [path for path in _kubeconfigs() if path.is_file()]
    if not paths and _in_cluster():
        with api_errors("read the service account", "this cluster"):
            settings = client.Configuration()
            config.load_incluster_config(client_configuration=settings)
        return Cluster(_api(settings, patient), context=None)
    if not paths:
        raise UnreachableError(
            "there is no kubeconfig",
            where=os.environ.get("KUBECONFIG") or _DEFAULT,
            hint="Set KUBECONFIG to the file that leads to your cluster.",
        )
    files = os.pathsep.join(map(str, paths))
    name = _choose(files, context, server)
    with _kubeconfig_errors(files), _heard() as complaints:
        settings = client.Configuration()
        config.load_kube_config(
            config_file=files,
            context=name,
            client_configuration=settings,
            persist_config=False,
        )
    if complaints:
        # The library would go on as nobody, and the refusals that follow would mislead.
        raise UnreachableError(
            f"the program that logs in to the cluster failed: {complaints[0]}",
            where=f"{files}, context {name}",
            hint="Install or repair what the kubeconfig names under `exec`, and log in again.",
        )
    return Cluster(_api(settings, patient), context=name)


def _choose(files: str, context: str | None, server: str | None) -> str:
    """The context of this name, or else the one that leads to `server`."""
    from kubernetes.config import kube_config

    with _kubeconfig_errors(files):
        merged = kube_config.KubeConfigMerger(files).config
        contexts, current = kube_config.list_kube_config_contexts(files)
        servers = {item["name"]: item["cluster"]["server"] for item in merged["clusters"].value}
    reached = {item["name"]: servers.get(item["context"]["cluster"]) for item in contexts}
    wanted = context or current["name"]
    if server is None and wanted in reached:
        return str(wanted)
    if server is not None and reached.get(wanted) != server:
        wanted = next((name for name, url in reached.items() if url == server), None)
    if wanted is None or wanted not in reached:
        what = f"no context leads to {server}" if server else f"there is no context {context!r}"
        raise UnreachableError(
            what,
            where=files,
            hint=f"Contexts there: {', '.join(sorted(reached))}. Set KUBECONFIG, or "
            "cluster.context.",
        )
    return str(wanted)


@contextmanager
def _kubeconfig_errors(files: str) -> Iterator[None]:
    try:
        with api_errors(files, files):
            yield
    except (TypeError, AttributeError, LookupError) as error:
        raise UnreachableError(
            "this is no kubeconfig",
            where=files,
            hint="Set KUBECONFIG to the file that leads to your cluster.",
        ) from error


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the library, instead of raising, says to the root logger when a login fails."""
    complaints: list[str] = []
    root, handler = logging.getLogger(), logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    root.addHandler(handler)
    try:
        yield complaints
    finally:
        root.removeHandler(handler)


def _api(settings: Any, patient: bool) -> Any:
    from kubernetes import client
    from urllib3 import Retry

    # Reads are repeated over passing trouble; a create is not, as it may have happened.
    settings.retries = Retry(
        total=3 if patient else 0,
        connect=1 if patient else 0,
        backoff_factor=0.5,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=("GET",),
        raise_on_status=False,
    )
    settings.connection_pool_maxsize = 16
    return client.ApiClient(settings)


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and _SERVICE_ACCOUNT.is_file()


def _kubeconfigs() -> list[Path]:
    named = os.environ.get("KUBECONFIG") or _DEFAULT
    return [Path(path).expanduser() for path in named.split(os.pathsep) if path]
