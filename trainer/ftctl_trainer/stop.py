"""SIGTERM and SIGINT set a flag; stages look at it where they can save what there is."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from ftctl.errors import StoppedError


def install_stop_flag() -> threading.Event:
    """Make SIGTERM and SIGINT set the returned event, instead of ending the process."""
    stop = threading.Event()

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request)
    signal.signal(signal.SIGINT, request)
    return stop


def end_if_stopped(stop: threading.Event, *, saved: str = "nothing was lost") -> None:
    """
    Return unless a stop was asked for.

    Args:
        saved: what the message says about the state.
    Raises:
        StoppedError: the flag is set.
    """
    if stop.is_set():
        raise StoppedError(f"stopped on request; {saved}", hint="Resume it with `ftctl resume`.")
