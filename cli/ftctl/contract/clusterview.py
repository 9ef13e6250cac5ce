"""What a cluster says of a run: a stage's place in it, and why it does not go on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftctl.contract.status import Stage, Stored

# queued: a queue holds it back. pending: no pod runs yet. waiting: the stage before goes first.
# retrying: an attempt failed, another follows.
StageState = Literal[
    "queued", "pending", "waiting", "running", "retrying", "stopping", "succeeded", "failed"
]
_ALIVE = ("queued", "pending", "waiting", "running", "retrying", "stopping")
# Of the convert stage: the handoff may still be to come.
_BEFORE_WORK = ("queued", "pending", "waiting", "retrying")


class Reason(Stored):
    """Why something does not go on: a short code, the fact in plain words, and what to do."""

    code: str
    what: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.what}\n{self.hint}" if self.hint else self.what


class StageView(Stored):
    """A stage's newest Job, and its newest pod."""

    stage: Stage
    job: str
    state: StageState
    reason: Reason | None = Field(None, description="why it is pending, retrying or failed")
    pod: str | None = None
    node: str | None = None
    failures: int = Field(0, description="attempts that failed so far")
    last_failure: Reason | None = Field(None, description="why the last of them did")
    exit_code: int | None = Field(None, description="of the last attempt that ended")
    memory_limit: str | None = None


class ClusterView(Stored):
    """A run as its cluster shows it; no stages when nothing of the run is there."""

    namespace: str
    stages: tuple[StageView, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether a Job of the run is still to end."""
        return any(stage.state in _ALIVE for stage in self.stages)

    @property
    def goes_on(self) -> bool:
        """
        Whether the run comes to its end here with nothing more created.

        Not one whose Jobs are being deleted, nor one whose convert stage waits for a train stage
        that has no Job any more.
        """
        states = {stage.stage: stage.state for stage in self.stages}
        waits_for_none = "train" not in states and states.get("convert") in _BEFORE_WORK
        ending = {"failed", "stopping"} & set(states.values())
        return self.is_alive and not ending and "convert" in states and not waits_for_none

    @property
    def is_over(self) -> bool:
        """Whether the run ended here: a stage failed for good, or all that are here succeeded."""
        return self.failed is not None or not self.is_alive

    @property
    def failed(self) -> StageView | None:
        """The first stage that failed for good."""
        return next((stage for stage in self.stages if stage.state == "failed"), None)
