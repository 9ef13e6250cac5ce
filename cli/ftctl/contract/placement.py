"""Where a run was submitted, and what is kept of a pod that failed there."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from ftctl.contract.clusterview import Reason
from ftctl.contract.status import Stage, Stored


class Placement(Stored):
    """The cluster that a run is in. A run of this machine has none."""

    context: str | None = Field(
        None, description="in the submitter's kubeconfig; null: submitted inside the cluster"
    )
    server: str = Field(description="URL of the API server")
    namespace: str
    identity: str | None = Field(
        None, description="tells the namespace from those of other clusters, whatever their URLs"
    )
    needs: dict[str, str] = Field(
        default_factory=dict, description="estimated memory by stage, for people"
    )

    def is_same(self, other: Placement) -> bool:
        """Whether both are one namespace of one cluster, which has another URL from inside."""
        if self.namespace != other.namespace:
            return False
        if self.identity and other.identity:
            return self.identity == other.identity
        return self.server == other.server


class FailureRecord(Stored):
    """An attempt that failed: what its cluster forgets when the pod is deleted."""

    stage: Stage
    pod: str | None
    job: str
    time: datetime
    reason: Reason
    exit_code: int | None = None
    events: list[str] = Field(default_factory=list, description="the pod's and the Job's")
    log: list[str] = Field(default_factory=list, description="last lines, oldest first")
