"""What a check looks at, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ftctl.cluster.client import Cluster
from ftctl.contract.spec import Config
from ftctl.errors import ClusterError

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `fix` says what to do about one that is not ok."""

    check: str
    status: Status
    what: str
    fix: str | None = None


@dataclass(frozen=True)
class Context:
    """
    What checks may ask.

    Attributes:
        connection: the cluster, perhaps not reachable; or why none could be opened.
        environment: of this process; its values are never shown.
        timeout_s: for a pod that is tried, its images included.
    """

    config: Config
    connection: Cluster | ClusterError
    environment: Mapping[str, str]
    timeout_s: float = 300.0

    @property
    def cluster(self) -> Cluster:
        """The cluster. Raises ClusterError where there is none."""
        if isinstance(self.connection, ClusterError):
            raise self.connection
        return self.connection

    @property
    def namespace(self) -> str:
        return self.config.cluster.namespace


def ok(check: str, what: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(check, "ok", what)


def warn(check: str, what: str, fix: str | None = None) -> Finding:
    """A finding that may be in the way."""
    return Finding(check, "warn", what, fix)


def fail(check: str, what: str, fix: str | None = None) -> Finding:
    """A finding that a run would fail over."""
    return Finding(check, "fail", what, fix)
