"""Waiting for the processes of other nodes, in a way that can be ended."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ftctl.contract import exits
from ftctl_trainer.stop import end_if_stopped

_POLL_S = 2.0
_CONNECT_S = 5.0


def await_first_node(meet_at: str, stop: threading.Event, has_work: Callable[[], bool]) -> bool:
    """
    Return once the first node answers; False where it has nothing more to do for us.

    torch's own waiting looks a name up as it was, and a pod that is made again has another address.

    Raises:
        StoppedError: a stop was asked for.
    """
    host, _, port = meet_at.rpartition(":")
    while not _answers(host, int(port)):
        end_if_stopped(stop)
        if not has_work():
            return False
        stop.wait(_POLL_S)
    return True


@contextmanager
def ending_when_asked() -> Iterator[None]:
    """
    While torch waits for other nodes, let SIGTERM end this process by the exit code of a stop.

    That waiting is not Python's, so no handler runs. Nothing can be lost yet; once its processes
    are started, torch's agent has handlers of its own, and passes the signal on to them.
    """
    before = signal.getsignal(signal.SIGTERM)
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    earlier = signal.set_wakeup_fd(writes)

    def watch() -> None:
        while os.read(reads, 1):
            if signal.getsignal(signal.SIGTERM) is before:
                os._exit(exits.STOPPED)

    watcher = threading.Thread(target=watch, name="ftctl-meeting", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(writes)  # ends the watcher
        watcher.join()
        os.close(reads)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
