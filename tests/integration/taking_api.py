"""An API server that keeps what it is given; what controllers and pods do, the tests do."""

from __future__ import annotations

from typing import Any

from kubernetes.client.exceptions import ApiException

from ftctl.cluster.kinds import Object
from ftctl.contract.labels import RUN
from ftctl.contract.status import now
from tests.unit.cluster.memory_api import MemoryApi, path_of


class Api(MemoryApi):
    """Takes objects too, unless it is out of reach."""

    out_of_reach = False

    def on_created(self, body: Object) -> None:
        """What controllers and pods do about it: nothing."""

    def complete(self, run_id: str) -> None:
        """What the Job controller does when all pods of a run's Jobs have ended well."""
        for body in self.objects.values():
            if body["kind"] == "Job" and body["metadata"].get("labels", {}).get(RUN) == run_id:
                body["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    def call_api(
        self,
        path: str,
        method: str,
        *,
        query_params: list[tuple[str, Any]],
        body: Object | None = None,
        **more: Any,
    ) -> Object:
        if method == "POST" and self.out_of_reach:
            raise ApiException(status=503, reason="Service Unavailable")
        if method == "POST" and body is not None:
            if ("dryRun", "All") in query_params:
                return body
            if path_of(body) in self.objects:
                raise ApiException(status=409, reason="AlreadyExists")
            meta = {**body["metadata"], "uid": str(len(self.objects)), "creationTimestamp": _now()}
            made = {**body, "metadata": meta}
            self.objects[path_of(body)] = made
            self.on_created(made)
            return made
        return super().call_api(path, method, query_params=query_params, **more)


def _now() -> str:
    return now().isoformat().replace("+00:00", "Z")
