"""Stands for the Kubernetes client: answers from objects that it is given, and says no."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from kubernetes.client.exceptions import ApiException

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import Kind, Object


class MemoryApi:
    """The part of kubernetes.client.ApiClient that Cluster calls. `forbidden`: plurals of kinds."""

    def __init__(self, objects: Iterable[Object], forbidden: Iterable[str] = ()) -> None:
        self.configuration = SimpleNamespace(host="https://lab.invalid:6443")
        self.objects = {path_of(body): body for body in objects}
        self._forbidden = set(forbidden)

    def call_api(
        self, path: str, method: str, *, query_params: list[tuple[str, Any]], **_: Any
    ) -> Object:
        """Answer a GET of an object or of a collection, or a DELETE."""
        for plural in self._forbidden & set(path.split("/")):
            error = ApiException(status=403, reason="Forbidden")
            error.body = (
                '{"message": "User \\"jo\\" cannot '
                + method.lower()
                + f' resource \\"{plural}\\""}}'
            )
            raise error
        if method == "DELETE" and path in self.objects:
            return self.objects.pop(path)
        if path in self.objects:
            return self.objects[path]
        if path.rpartition("/")[2] not in _PLURALS:
            raise ApiException(status=404, reason="Not Found")
        below = [body for key, body in self.objects.items() if key.startswith(f"{path}/")]
        return {
            "items": [body for body in below if _is_selected(body, dict(query_params))],
            "metadata": {},
        }


def memory_cluster(*objects: Object, forbidden: Iterable[str] = ()) -> Cluster:
    """A cluster that has these objects."""
    return Cluster(MemoryApi(objects, forbidden), context="lab")


_KINDS = {each.name: each for each in vars(kinds).values() if isinstance(each, Kind)}
_PLURALS = {each.plural for each in _KINDS.values()}


def path_of(body: Object) -> str:
    """Where the API has an object."""
    meta = body["metadata"]
    return _KINDS[body["kind"]].path(meta.get("namespace"), meta["name"])


def _is_selected(body: Object, query: dict[str, str]) -> bool:
    labels = body["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, equals, value = term.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    about = query.get("fieldSelector", "").removeprefix("involvedObject.uid=")
    return not about or body.get("involvedObject", {}).get("uid") == about
