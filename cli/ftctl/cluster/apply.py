"""Creates what a run is made of: asked first, so that nothing is left half created."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import (
    ExistsError,
    ForbiddenError,
    MissingError,
    RefusedError,
    UnreachableError,
)
from ftctl.cluster.kinds import CLAIM, JOB, SECRET, Kind, Object, kind_of, name_of
from ftctl.cluster.quotas import crowded
from ftctl.cluster.refusals import quota_never_fits
from ftctl.cluster.workloads import WORKLOADS, jobs_in
from ftctl.errors import ClusterError

# An object of this name may still be on its way out.
_LEAVING_S = 180.0
_POLL_S = 0.5


def preflight(cluster: Cluster, objects: Sequence[Object]) -> list[str]:
    """
    Ask the cluster whether it would take all objects and the pods of its Jobs. Nothing is made.

    Returns:
        What is no obstacle and yet worth saying: a quota that others use up now, or that takes the
        stages one at a time only.
    Raises:
        ClusterError: everything that would be refused, or is missing.
    """
    refused: list[ClusterError] = []
    notes: list[str] = []
    for body in objects:
        try:
            _would_create(cluster, body)
            for job in jobs_in([body]):
                notes += _would_run(cluster, job, objects)
                _find_referred(cluster, job)
        except UnreachableError:
            raise
        except ClusterError as error:
            refused.append(error)
    if refused:
        raise _together(refused)
    jobs = [body for body in objects if kind_of(body) is JOB]
    if jobs:
        notes += crowded(cluster, jobs[0]["metadata"]["namespace"], jobs)
    return list(dict.fromkeys(notes))


def apply(cluster: Cluster, objects: Sequence[Object]) -> list[str]:
    """
    Create what is not there yet; return the names of what was created or changed.

    A Job or JobSet that is there is left alone: its name is made of its content. If an object is
    refused, those that were created before it are deleted again.

    Raises:
        ClusterError: the first refusal.
    """
    made: list[Object] = []
    changed: list[str] = []
    try:
        for body in objects:
            if _create(cluster, body):
                made.append(body)
                changed.append(name_of(body))
            elif _differs(cluster, body):
                cluster.patch(body)
                changed.append(name_of(body))
    except ClusterError:
        for body in reversed(made):
            meta = body["metadata"]
            with suppress(ClusterError):  # what went wrong first is what is said
                cluster.delete(kind_of(body), meta["name"], meta.get("namespace"))
        raise
    return changed


def pod_of(job: Object, objects: Sequence[Object] = ()) -> Object:
    """
    A pod as the Job would make it.

    Args:
        objects: what is created with the Job. A service account among them is not there yet, and
            is left out.
    """
    template = copy.deepcopy(job["spec"]["template"])
    created = {body["metadata"]["name"] for body in objects if body["kind"] == "ServiceAccount"}
    if template["spec"].get("serviceAccountName") in created:
        del template["spec"]["serviceAccountName"]
    meta = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template.get("metadata", {}),
            "generateName": f"{meta['name']}-",
            "namespace": meta.get("namespace"),
        },
        "spec": template["spec"],
    }


def _would_create(cluster: Cluster, body: Object) -> None:
    try:
        cluster.create(body, dry_run=True)
    except ExistsError:
        return


def _would_run(cluster: Cluster, job: Object, objects: Sequence[Object]) -> list[str]:
    """Pod Security and most quotas look at pods only, when the Job controller makes them."""
    try:
        cluster.create(pod_of(job, objects), dry_run=True)
    except ForbiddenError:
        return []  # A user may be allowed Jobs and not pods; the Job controller is.
    except RefusedError as error:
        if "exceeded quota" not in error.message or quota_never_fits(error.message):
            raise
        return [f"{error.what}. {error.hint or ''}".strip()]
    return []


def _find_referred(cluster: Cluster, job: Object) -> None:
    """Raise MissingError for the first Secret or claim that a pod would wait for."""
    namespace = job["metadata"].get("namespace")
    spec = job["spec"]["template"]["spec"]
    for kind, name in _referred(spec):
        try:
            there = cluster.find(kind, name, namespace)
        except ForbiddenError:
            continue  # Not everybody may look at Secrets; the pod will tell.
        if there is None:
            raise MissingError(
                f"there is no {kind.name} {name} in the namespace {namespace}",
                where=name_of(job),
                hint="`ftctl secrets set` makes it from your environment."
                if kind is SECRET
                else "Create it, or set cluster.cache.kind=none.",
            )


def _referred(spec: Object) -> list[tuple[Kind, str]]:
    found: list[tuple[Kind, str]] = []
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        sources = [source.get("secretRef", {}) for source in container.get("envFrom", ())]
        sources += [
            variable.get("valueFrom", {}).get("secretKeyRef", {})
            for variable in container.get("env", ())
        ]
        found += [(SECRET, one["name"]) for one in sources if one and not one.get("optional")]
    for volume in spec.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            found.append((CLAIM, volume["persistentVolumeClaim"]["claimName"]))
    return list(dict.fromkeys(found))


def _create(cluster: Cluster, body: Object) -> bool:
    """Create an object; False if there is one already. One that is being deleted is awaited."""
    deadline = time.monotonic() + _LEAVING_S
    while True:
        try:
            cluster.create(body)
            return True
        except ExistsError:
            meta = body["metadata"]
            present = cluster.find(kind_of(body), meta["name"], meta.get("namespace"))
        if present and not present["metadata"].get("deletionTimestamp"):
            return False
        if time.monotonic() > deadline:
            raise ClusterError(
                "it is being deleted and does not go",
                where=name_of(body),
                hint="`kubectl describe` shows the finalizers or pods that it waits for.",
            )
        time.sleep(_POLL_S)


def _differs(cluster: Cluster, body: Object) -> bool:
    if kind_of(body) in WORKLOADS or body.get("immutable"):
        return False
    meta = body["metadata"]
    present = cluster.get(kind_of(body), meta["name"], meta.get("namespace"))
    return not _contains(present, body)


def _contains(present: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the API server adds defaults and its own fields."""
    if isinstance(wanted, dict) and isinstance(present, dict):
        return all(key in present and _contains(present[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list) and isinstance(present, list):
        return len(wanted) == len(present) and all(map(_contains, present, wanted))
    return bool(present == wanted)


def _together(refused: Sequence[ClusterError]) -> ClusterError:
    # Of the same refusal, the first object that met it.
    unique = list({(error.what, error.hint): error for error in reversed(refused)}.values())[::-1]
    if len(unique) == 1:
        return unique[0]
    lines = [f"- {error.where}: {error.what}" for error in unique]
    hints = list(dict.fromkeys(error.hint for error in unique if error.hint))
    return ClusterError(
        "the cluster would not take the run:\n" + "\n".join(lines), hint="\n".join(hints) or None
    )
