"""What the Kubernetes client's failures mean. No exception of its libraries leaves this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftctl.cluster.refusals import refusal
from ftctl.errors import ClusterError


class UnreachableError(ClusterError):
    """No API server answers, or none is known."""


class MissingError(ClusterError):
    """There is no object of this name."""


class ExistsError(ClusterError):
    """An object of this name is there already."""


class ForbiddenError(ClusterError):
    """The user may not do this."""


class RefusedError(ClusterError):
    """The API refused an object: quota, policy, or a value it does not take."""

    def __init__(
        self, what: str, *, message: str, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.message = message


_REACH = "Check the kubeconfig (KUBECONFIG), its context (cluster.context), the network and VPN."
_LOGIN = "Log in to the cluster again; `kubectl auth whoami` shows who you are to it."
_LATER = "Try again later."


@contextmanager
def api_errors(where: str, server: str) -> Iterator[None]:
    """
    Turn what the client raises in the block into a ClusterError.

    Args:
        where: what was asked for: `create Job team-a/x`.
        server: URL of the API server.
    """
    from kubernetes.client.exceptions import ApiException, OpenApiException
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError
    from yaml import YAMLError

    try:
        yield
    except ApiException as error:
        raise _answer(error, where, server) from error
    except HTTPError as error:
        raise _connection(error, server) from error
    except (ConfigException, YAMLError) as error:
        raise UnreachableError(
            f"the kubeconfig cannot be used: {str(error).splitlines()[0]}", where=where, hint=_REACH
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"the cluster's credentials cannot be read: {error.strerror or error}",
            where=error.filename if isinstance(error.filename, str) else server,
            hint="Correct the kubeconfig, or install the program that it names.",
        ) from error
    except (OpenApiException, ValueError) as error:
        raise ClusterError(
            f"the API server's answer cannot be understood: {type(error).__name__}", where=server
        ) from error


def _answer(error: Any, where: str, server: str) -> ClusterError:
    """An HTTP answer that is no success; TLS trouble comes as status 0."""
    if error.status == 0:
        return _untrusted(server)
    message = _message(error)
    if error.status == 401:
        return ForbiddenError(
            "the cluster does not accept these credentials", where=server, hint=_LOGIN
        )
    reason = refusal(message)
    if error.status == 403 and reason and reason.code == "Forbidden":
        return ForbiddenError(reason.what, where=where, hint=reason.hint)
    if reason:
        return RefusedError(reason.what, message=message, where=where, hint=reason.hint)
    if error.status == 404:
        return _missing(message, where)
    if error.status == 409:
        return ExistsError(message, where=where)
    if error.status in (400, 403, 422):
        return RefusedError(f"the API refused it: {message}", message=message, where=where)
    if error.status == 429 or error.status >= 500:
        return UnreachableError(
            f"the API server failed ({error.status}): {message}", where=server, hint=_LATER
        )
    return ClusterError(f"the API answered {error.status}: {message}", where=where)


def _missing(message: str, where: str) -> MissingError:
    if message.startswith('namespaces "'):
        name = message.split('"')[1]
        return MissingError(
            f"there is no namespace {name}",
            where=where,
            hint=f"Create it (`kubectl create namespace {name}`), or set cluster.namespace.",
        )
    return MissingError(message or "there is no such object", where=where)


def _message(error: Any) -> str:
    """The message of the Status object that the API answers with."""
    try:
        status = json.loads(error.body)
        return str(status["message"])
    except (TypeError, ValueError, LookupError):
        return str(error.reason or "").strip()


def _connection(error: Exception, server: str) -> ClusterError:
    from urllib3.exceptions import MaxRetryError, ProxyError, SSLError

    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, SSLError):
        return _untrusted(server)
    if isinstance(cause, ProxyError):
        return UnreachableError(
            "the proxy to the API server cannot be reached",
            where=server,
            hint="Check HTTPS_PROXY and NO_PROXY.",
        )
    return UnreachableError(
        f"the API server does not answer: {type(cause).__name__}", where=server, hint=_REACH
    )


def _untrusted(server: str) -> ClusterError:
    return UnreachableError(
        "the API server's certificate is not trusted, or not for this name",
        where=server,
        hint="Set certificate-authority-data in the kubeconfig to the cluster's authority.",
    )
