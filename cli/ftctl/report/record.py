"""Everything known of a run, in one value that a report is made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.lineage import Manifest
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Event, Metrics, State, Status
from ftctl.contract.verification import Verification

# Older than this, a heartbeat means that nobody works on the run: it is written every 10 s.
STALE_S = 60


@dataclass(frozen=True)
class PublishedFile:
    """A file below the run's gguf/ folder; `size` is in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Tombstones:
    """Which of the markers that end a run are there."""

    success: bool = False
    failed: bool = False
    cancelled: bool = False


@dataclass(frozen=True)
class RunRecord:
    """A run as its store shows it at `collected`. Any part may be missing while it goes on."""

    run_id: str
    collected: datetime
    run: RunFile | None = None
    status: Status | None = None
    metrics: tuple[Metrics, ...] = ()
    events: tuple[Event, ...] = ()
    evaluation: Evaluation | None = None
    verification: Verification | None = None
    manifest: Manifest | None = None
    gguf: tuple[PublishedFile, ...] = ()
    tombstones: Tombstones = Tombstones()
    problems: tuple[str, ...] = ()
    """What could not be read, a sentence each."""

    @property
    def state(self) -> State:
        """
        The run's state. Markers outweigh status.json, which a killed stage leaves behind.

        A manifest beside a passed verification counts as success: the report is published between
        the manifest and `_SUCCESS`, and says of the run what the marker is about to say.
        """
        if self.tombstones.success:
            return "succeeded"
        if self.tombstones.cancelled:
            return "cancelled"
        if self.tombstones.failed:
            return "failed"
        if self.manifest and self.verification and self.verification.passed:
            return "succeeded"
        return self.status.state if self.status else "pending"

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds from the last heartbeat until the record was collected."""
        if self.status is None:
            return None
        return max(0.0, (self.collected - self.status.heartbeat).total_seconds())

    @property
    def abandoned(self) -> bool:
        """Whether the run says that it is running and yet nobody works on it."""
        age_s = self.heartbeat_age_s
        return self.state == "running" and age_s is not None and age_s > STALE_S

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the first event to the last sign of life, pauses included."""
        if not self.events:
            return None
        times = [event.time for event in self.events]
        if self.status:
            times.append(self.status.heartbeat)
        return (max(times) - min(times)).total_seconds()

    @property
    def step(self) -> int:
        """Optimizer steps done; the convert stage's status counts none, the metrics still do."""
        steps = [line.step for line in self.metrics]
        return max([self.status.step if self.status else 0, *steps])

    @property
    def resumed_steps(self) -> tuple[int, ...]:
        """The steps from which a killed or stopped training went on."""
        steps = (event.data.get("step") for event in self.events if event.kind == "resumed")
        return tuple(step for step in steps if isinstance(step, int) and step > 0)
