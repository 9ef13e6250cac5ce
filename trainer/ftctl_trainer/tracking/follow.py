"""Keeps an experiment tracker in step with metrics.jsonl, beside the training."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from ftctl.errors import FtctlError, StoppedError
from ftctl_trainer.tracking.record import Point

EVERY_S = 10.0
# Longer than this the end of a stage does not wait for a tracker that does not answer.
_LAST_S = 60.0

_log = logging.getLogger(__name__)


class TrackerError(FtctlError):
    """A tracker cannot be told. The run goes on: its store has everything."""


class Tracker(Protocol):
    """Where metrics go besides the store."""

    def record(self, points: Sequence[Point]) -> None:
        """Take what is new among all points so far; safe to repeat. Raises TrackerError."""

    def close(self, state: str) -> None:
        """Say how it ended: finished, stopped or failed. Raises TrackerError."""


class Follower:
    """
    Tells a tracker of all points, every 10 s and at the end, in a thread of its own.

    A tracker that cannot be reached costs a warning, never the run.
    """

    def __init__(self, connect: Callable[[], Tracker], points: Callable[[], list[Point]]) -> None:
        """
        Args:
            connect: opens the tracker; called in the thread, as it may wait for a network.
            points: everything so far.
        """
        self._connect, self._points = connect, points
        self._ending = threading.Event()
        self._state = "finished"
        self._said = False
        self._thread = threading.Thread(target=self._follow, name="ftctl-tracking", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._state = "stopped" if isinstance(error, StoppedError) else "failed"
        self._ending.set()
        self._thread.join(_LAST_S)
        if self._thread.is_alive():
            _log.warning("the tracker did not answer within %.0f s; going on without it", _LAST_S)

    def _follow(self) -> None:
        tracker: Tracker | None = None
        ended = False
        while not ended:
            ended = self._ending.wait(EVERY_S)
            try:
                tracker = tracker or self._connect()
                tracker.record(self._points())
                if ended:
                    tracker.close(self._state)
            except Exception as error:  # a boundary: no tracker's library ends a run
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            _log.warning("tracking goes on in the store alone: %s", error)
