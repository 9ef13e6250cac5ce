"""Who holds a lease: a process, named so that its own machine can tell whether it still lives."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

_SEPARATOR = "/"


def this_holder() -> str:
    """This process as `host/process namespace/pid/random`."""
    return _SEPARATOR.join([*_machine(), str(os.getpid()), secrets.token_hex(3)])


def is_gone(holder: str) -> bool:
    """
    Whether a holder is known to be dead: it was a process of this machine that is no more.

    False in every doubt: another machine, another process namespace, a pid that is in use again.
    A killed process need then not be waited for until its lease expires.
    """
    parts = holder.split(_SEPARATOR)
    if len(parts) != 4 or parts[:2] != _machine() or not parts[2].isdigit():
        return False
    pid = int(parts[2])
    # A container that is started again has the same pid, and the one before it is dead.
    return pid == os.getpid() or not Path(f"/proc/{pid}").exists()


def _machine() -> list[str]:
    """Host, and its boot and process namespace; without /proc, nothing that could be equal."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return [socket.gethostname(), secrets.token_hex(8)]
    return [socket.gethostname(), f"{boot[:8]}-{namespace}"]
