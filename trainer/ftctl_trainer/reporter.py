"""Tells the store and the log how a stage goes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any

from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Event, IndexRecord, Metrics, Stage, State, Status, now
from ftctl.errors import StorageError
from ftctl.storage.base import Store
from ftctl.storage.index import keep_packed, write_index
from ftctl_trainer.journal import Journal

HEARTBEAT_S = 10.0

_log = logging.getLogger(__name__)


class StoreReporter:
    """
    Writes status.json every 10 s, events at once, and the index record at each change of state.

    Metrics reach the store with the next heartbeat or `flush`. A heartbeat that fails is logged
    and tried again; every other failure to write is raised as StorageError.
    """

    def __init__(
        self,
        store: Store,
        run: RunFile,
        stage: Stage,
        *,
        holder: str = "",
        fence: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            check: raises StorageError once another holder writes this run. It is asked before
                every write: a machine that was away for a while knows nothing of the other.
        """
        self._store, self._run, self._check = store, run, check
        self._layout = RunLayout(run.run_id)
        self._events = Journal(store, self._layout.events, Event)
        self._metrics = Journal(store, self._layout.metrics, Metrics)
        self._status = Status(
            run_id=run.run_id,
            stage=stage,
            state="running",
            phase="starting",
            heartbeat=now(),
            holder=holder,
            fence=fence,
        )
        self._pace: tuple[int, float] | None = None
        self._writing = threading.RLock()
        self._ending = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="ftctl-heartbeat", daemon=True)

    def __enter__(self) -> StoreReporter:
        self.event("started", fence=self._status.fence)
        self._write_index()
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        if self._heart.is_alive():
            self._heart.join()

    @property
    def status(self) -> Status:
        """The present status."""
        return self._status

    def phase(self, text: str) -> None:
        """Say what the stage is doing now, in a few words."""
        self._update(phase=text)
        self._write_status()
        _log.info("%s", text, extra={"status": self._status})

    def progress(self, step: int, total: int) -> None:
        """Say how many optimizer steps are done; the time left is taken from the pace so far."""
        moment = time.monotonic()
        if self._pace is None or step < self._pace[0]:
            self._pace = (step, moment)
        first, since = self._pace
        eta_s = (total - step) * (moment - since) / (step - first) if step > first else None
        self._update(step=step, total_steps=total, eta_s=eta_s)

    def metrics(self, line: Metrics) -> None:
        """Add a line to metrics.jsonl, with the time."""
        line = line.model_copy(update={"time": now()})
        if line.loss is not None:
            self._update(loss=line.loss, real_tokens_per_s=line.real_tokens_per_s)
        with self._writing:
            self._metrics.add(line)
        _log.info("%s", _words(line), extra={"status": self._status, "metrics": line})

    def history(self) -> list[Metrics]:
        """All lines of metrics.jsonl so far."""
        with self._writing:
            return self._metrics.lines(Metrics)

    def event(self, kind: str, **data: Any) -> None:
        """Add a line to events.jsonl, at once."""
        with self._writing:
            self._check()
            self._events.add(Event(time=now(), stage=self._status.stage, kind=kind, data=data))
            self._events.save()

    def flush(self) -> None:
        """Bring what metrics there are to the store."""
        with self._writing:
            self._check()
            self._metrics.save()

    def rewind(self, step: int) -> None:
        """Drop the metrics after `step`: a run that resumes there writes them again."""
        with self._writing:
            self._metrics.keep(lambda line: Metrics.model_validate_json(line).step <= step)
            self.flush()

    def finish(self, state: State, phase: str, *, error: str | None = None, **data: Any) -> None:
        """Say how the stage ended; `data` goes into the event."""
        self._ending.set()
        self._update(state=state, phase=phase, error=error, eta_s=None)
        self.flush()
        self.event(state, **({"error": error} if error else {}), **data)
        self._write_status()
        self._write_index()
        if state != "stopped":  # then there may be seconds left
            keep_packed(self._store)

    def _update(self, **fields: Any) -> None:
        self._status = self._status.model_copy(update={**fields, "heartbeat": now()})

    def _write_status(self) -> None:
        with self._writing:
            self._check()
            self._store.write(self._layout.status, self._status.model_dump_json().encode())

    def _write_index(self) -> None:
        self._check()
        write_index(
            self._store,
            IndexRecord(
                run_id=self._run.run_id,
                name=self._run.run_id.rpartition("-")[0],
                created=self._created(),
                state=self._status.state,
                stage=self._status.stage,
                model=self._run.model.name,
                method=self._run.config.training.method,
                loss=self._loss(),
                updated=now(),
            ),
        )

    def _loss(self) -> float | None:
        """The last training loss, of whichever stage and attempt: only `train` logs any."""
        losses = [line.loss for line in self._metrics.lines(Metrics) if line.loss is not None]
        return losses[-1] if losses else None

    def _created(self) -> datetime:
        """The same for every stage and attempt: it is part of the index record's key."""
        first = self._events.first(Event)
        return self._run.created or (first.time if first else self._status.heartbeat)

    def _beat(self) -> None:
        while not self._ending.wait(HEARTBEAT_S):
            self._update()
            try:
                self.flush()
                self._write_status()
            except StorageError as error:
                _log.warning("the heartbeat was not written: %s", error)


def _words(line: Metrics) -> str:
    if line.eval_reward is not None:
        return f"step {line.step}: held-out reward {line.eval_reward:.4f}"
    if line.eval_loss is not None:
        said = f"step {line.step}: held-out loss {line.eval_loss:.4f}"
        if line.eval_preference_accuracy is not None:
            said += f", {line.eval_preference_accuracy:.1%} of held-out pairs won"
        if line.eval_moved_right is not None:
            said += f", {line.eval_moved_right:.1%} of held-out answers moved the right way"
        return said
    parts = [f"step {line.step}"]
    if line.loss is not None:
        parts.append(f"loss {line.loss:.4f}")
    if line.reward is not None:
        parts.append(f"reward {line.reward:.4f}")
    if line.lr is not None:
        parts.append(f"lr {line.lr:.2e}")
    if line.real_tokens_per_s is not None:
        parts.append(f"{line.real_tokens_per_s:,.0f} tokens/s")
    return ", ".join(parts)
