"""What every stage is handed: the run, its store, how to report, and how to be stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Metrics
from ftctl.storage.base import Store
from ftctl_trainer.processes.group import ALONE, Group


class Reporter(Protocol):
    """Tells the store (status.json, events.jsonl, metrics.jsonl) and the log how a stage goes."""

    def phase(self, text: str) -> None:
        """Say what the stage is doing now, in a few words: `loading model`, `quantizing q4_1`."""

    def progress(self, step: int, total: int) -> None:
        """Say how many optimizer steps are done."""

    def metrics(self, line: Metrics) -> None:
        """Add a line to metrics.jsonl."""

    def event(self, kind: str, **data: Any) -> None:
        """Add a line to events.jsonl, at once."""

    def history(self) -> list[Metrics]:
        """All lines of metrics.jsonl so far."""

    def flush(self) -> None:
        """Bring all metrics to the store: a checkpoint's marker must not be ahead of them."""

    def rewind(self, step: int) -> None:
        """Drop the metrics after `step`: a run that resumes there writes them again."""


class Lease(Protocol):
    """The right to write this run. `fence` grows with every holder, and stands in every marker."""

    fence: int

    def check(self) -> None:
        """Raise StorageError when another holder took over."""


@dataclass(frozen=True)
class StageContext:
    """Everything a stage works with."""

    run: RunFile
    store: Store
    reporter: Reporter
    lease: Lease
    stop: threading.Event
    """Set by SIGTERM: save what there is and raise StoppedError."""
    workdir: Path
    """Scratch folder on this machine, removed afterwards."""
    threads: int
    group: Group = ALONE
    """The processes that train this run, of which only the first writes."""

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.run.run_id)
