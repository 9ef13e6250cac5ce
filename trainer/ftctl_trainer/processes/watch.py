"""Notices that another process is gone where waiting for it would never end."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ftctl.contract import exits
from ftctl_trainer.processes.group import FAILURE, Group
from ftctl_trainer.processes.launch import leave_exit_code

_log = logging.getLogger(__name__)

_BEAT_S = 5.0
# A process that says nothing for so long is gone, and with it perhaps its node.
_SILENCE_S = 120.0
# What a process that heard of a failure has left, to record it and to end by itself.
_ENDING_S = 60.0


@contextmanager
def watching(group: Group, stop: threading.Event) -> Iterator[None]:
    """
    While this is open, stop this process when another one has ended badly.

    Where it cannot stop by itself, it is ended by exit code 75.

    gloo's sockets tell at once of a process that ended, and that is how training usually ends. A
    GPU that waits in a collective tells nobody for minutes, and a node without power never.
    """
    if group.board is None:
        yield
        return
    watch = _Watch(group, stop)
    watch.start()
    try:
        yield
    finally:
        watch.over.set()


class _Watch(threading.Thread):
    def __init__(self, group: Group, stop: threading.Event) -> None:
        super().__init__(name="ftctl-watch", daemon=True)
        self.over = threading.Event()
        self._group, self._asked = group, stop
        # A connection of its own: the other one may wait for a key.
        self._board = group.board.clone()
        self._parent = os.getppid()
        self._heard: dict[int, tuple[str, float]] = {}

    def run(self) -> None:
        """Tell that this process lives, and look whether the others do."""
        beats = 0
        while not self.over.wait(_BEAT_S):
            beats += 1
            if trouble := self._trouble(beats):
                break
        else:
            return
        self._asked.set()
        if not self.over.wait(_ENDING_S):
            _log.warning("%s, and this process waits for it in vain: it ends", trouble)
            leave_exit_code(exits.STOPPED)
            os._exit(exits.STOPPED)

    def _trouble(self, beats: int) -> str | None:
        if os.getppid() != self._parent:
            return "whoever started this process is gone"
        try:
            self._board.set(_key(self._group.rank), str(beats))
            if self._board.check([FAILURE]):
                return "another process failed"
            silent = [rank for rank in range(self._group.world) if self._is_silent(rank)]
        except RuntimeError as error:
            return f"the first node does not answer ({error})"
        return f"process {silent[0]} is silent" if silent else None

    def _is_silent(self, rank: int) -> bool:
        """A process that has yet to speak is waited for by those who need it."""
        if not self._board.check([_key(rank)]):
            return False
        beat, now = _text(self._board.get(_key(rank))), time.monotonic()
        if self._heard.get(rank, ("", 0.0))[0] != beat:
            self._heard[rank] = (beat, now)
        return now - self._heard[rank][1] > _SILENCE_S


def _key(rank: int) -> str:
    return f"ftctl/alive/{rank}"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
