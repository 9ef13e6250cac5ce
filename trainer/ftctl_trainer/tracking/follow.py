"""Keeps an experiment tracker in step with metrics.jsonl, beside the training."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

from ftctl.errors import StoppedError
from ftctl_trainer.tracking.record import Point

EVERY_S = 10.0
# Longer than this the end of a stage does not wait for a tracker that does not answer.
_LAST_S = 60.0

End = Literal["finished", "stopped", "failed"]

_log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Where metrics go besides the store."""

    def record(self, points: Sequence[Point]) -> None:
        """Take what is new among all points so far; safe to repeat."""

    def close(self, end: End) -> None:
        """Say how it ended; called once, after the last points."""


@contextmanager
def following(connect: Callable[[], Tracker], points: Callable[[], list[Point]]) -> Iterator[None]:
    """
    While this is open, and once more at its end, tell a tracker of all points.

    That is done every 10 s in a thread of its own. A tracker that cannot be told, for whatever
    reason, costs a warning and never the run: its store has everything.

    Args:
        connect: opens the tracker; called in the thread, as it may wait for a network.
        points: everything so far.
    """
    follower = _Follower(connect, points)
    follower.start()
    end: End = "failed"
    try:
        yield
        end = "finished"
    except StoppedError:
        end = "stopped"
        raise
    finally:
        follower.finish(end)


class _Follower(threading.Thread):
    def __init__(self, connect: Callable[[], Tracker], points: Callable[[], list[Point]]) -> None:
        super().__init__(name="ftctl-tracking", daemon=True)
        self._connect, self._points = connect, points
        self._ending = threading.Event()
        self._end: End = "finished"
        self._said = False

    def finish(self, end: End) -> None:
        """Tell the rest, within a minute."""
        self._end = end
        self._ending.set()
        self.join(_LAST_S)
        if self.is_alive():
            _log.warning("the tracker did not answer within %.0f s; going on without it", _LAST_S)

    def run(self) -> None:
        """Tell, wait, and tell again, until the last."""
        tracker: Tracker | None = None
        last = False
        while not last:
            last = self._ending.wait(EVERY_S)
            try:
                tracker = tracker or self._connect()
                tracker.record(self._points())
                if last:
                    tracker.close(self._end)
            except Exception as error:  # a boundary: no tracker's library ends a run
                self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            _log.warning("tracking goes on in the store alone: %s", error)
