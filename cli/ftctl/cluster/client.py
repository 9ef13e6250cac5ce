"""One connection to a Kubernetes API server: plain objects in and out, failures translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from ftctl.cluster.failures import MissingError, api_errors
from ftctl.cluster.kinds import Kind, Object, kind_of, name_of

# Listings come in pages: a namespace may hold thousands of objects.
PAGE = 500
_AUTH = ["BearerToken"]
_JSON = "application/json"
_MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT_S = (5.0, 30.0)
# A follower's connection is silent as long as the pod is.
_FOLLOW_TIMEOUT_S = (5.0, 3600.0)


class Cluster:
    """
    The API of one cluster. Methods may be called from several threads.

    Every method raises ClusterError, by its subclasses in `failures`: unreachable, no permission
    (named verb, resource and namespace), missing, existing, refused.
    """

    def __init__(self, api: Any, *, context: str | None) -> None:
        """
        Args:
            api: a kubernetes.client.ApiClient.
            context: name in the kubeconfig; None inside a cluster.
        """
        self._api = api
        self.context = context
        self.server: str = api.configuration.host

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        """Return an object. Raises MissingError."""
        where = f"get {kind.resource} {_named(namespace, name)}"
        return self._call("GET", kind.path(namespace, name), where)

    def find(self, kind: Kind, name: str, namespace: str | None = None) -> Object | None:
        """Return an object, or None when there is none."""
        try:
            return self.get(kind, name, namespace)
        except MissingError:
            return None

    def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Iterator[Object]:
        """Yield objects by selector, page by page; without `namespace`, of all namespaces."""
        query: dict[str, Any] = {"limit": PAGE}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        where = f"list {kind.resource} in {namespace or 'all namespaces'}"
        while True:
            answer = self._call("GET", kind.path(namespace), where, query=query)
            yield from answer["items"]
            query["continue"] = answer["metadata"].get("continue")
            if not query["continue"]:
                return

    def create(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object, or only ask whether it would be. Raises ExistsError, RefusedError."""
        kind = kind_of(body)
        path = kind.path(body["metadata"].get("namespace"))
        query = {"dryRun": "All"} if dry_run else {}
        return self._call("POST", path, f"create {name_of(body)}", query=query, body=body)

    def patch(self, body: Object) -> Object:
        """Merge `body` over the object that is there."""
        meta = body["metadata"]
        path = kind_of(body).path(meta.get("namespace"), meta["name"])
        where = f"patch {name_of(body)}"
        return self._call("PATCH", path, where, body=body, content_type=_MERGE_PATCH)

    def delete(
        self, kind: Kind, name: str, namespace: str | None = None, *, grace_s: int | None = None
    ) -> bool:
        """Delete an object, those it owns first; return whether there was one."""
        options: Object = {"propagationPolicy": "Foreground"}
        options |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        where = f"delete {kind.resource} {_named(namespace, name)}"
        try:
            self._call("DELETE", kind.path(namespace, name), where, body=options)
        except MissingError:
            return False
        return True

    def read(self, path: str) -> Object:
        """Return what the API answers at any path, as `/version`."""
        return self._call("GET", path, f"get {path}")

    def log(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        timestamps: bool = False,
        since: str | None = None,
    ) -> Iterator[str]:
        """
        Yield a container's log by lines, until it ends when following.

        Args:
            previous: of the container before its last restart.
            tail: only the last lines.
            timestamps: begin each line with its time (RFC 3339) and a space.
            since: RFC 3339; earlier lines are left out, to the second.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3 import Timeout

        query: dict[str, Any] = {"container": container}
        query |= {"follow": "true"} if follow else {}
        query |= {"previous": "true"} if previous else {}
        query |= {"timestamps": "true"} if timestamps else {}
        query |= {"sinceTime": since} if since else {}
        query |= {} if tail is None else {"tailLines": tail}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{urlencode(query)}"
        headers: dict[str, str] = {}
        with api_errors(f"get the log of pod {namespace}/{pod}", self.server):
            # Past call_api, which cannot tell a refused stream.
            self._api.update_params_for_auth(headers, [], _AUTH)
            answer = self._api.rest_client.pool_manager.request(
                "GET",
                self.server + path,
                headers=headers,
                preload_content=False,
                timeout=Timeout(*(_FOLLOW_TIMEOUT_S if follow else _TIMEOUT_S)),
            )
            try:
                if answer.status >= 300:
                    error = ApiException(status=answer.status, reason=answer.reason)
                    error.body = answer.read()
                    raise error
                yield from _lines(answer.stream(65536))
            finally:
                # Unread rest included: a connection that is given back must be at its end.
                answer.close()

    def _call(
        self,
        method: str,
        path: str,
        where: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Object | None = None,
        content_type: str = _JSON,
    ) -> Object:
        given = [(name, value) for name, value in (query or {}).items() if value is not None]
        with api_errors(where, self.server):
            answer: Object = self._api.call_api(
                path,
                method,
                query_params=given,
                header_params={"Accept": _JSON, "Content-Type": content_type},
                body=body,
                response_types_map={200: "object", 201: "object", 202: "object"},
                auth_settings=_AUTH,
                _return_http_data_only=True,
                _request_timeout=_TIMEOUT_S,
            )
        return answer


def _lines(blocks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def _named(namespace: str | None, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name
