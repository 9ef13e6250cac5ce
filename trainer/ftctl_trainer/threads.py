"""How many threads a process computes with."""

from __future__ import annotations

import os


def available_threads() -> int:
    """CPUs that this process may use; FTCTL_THREADS overrides, as results depend on it."""
    wanted = os.environ.get("FTCTL_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))
