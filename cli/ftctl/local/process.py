"""Runs a stage as a process of its own, exactly as a pod does."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ftctl.contract.status import LogLine, Stage

# What is kept of a stage's stderr: enough for the message of a crash in native code.
_STDERR_LINES = 40
_BYTES_PER_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class StageEnd:
    """How a stage ended. `peak_rss_bytes` is of the largest stage process so far."""

    exit_code: int
    stderr_tail: str
    interrupted: bool
    peak_rss_bytes: int


def run_stage(stage: Stage, config: Path, on_line: Callable[[LogLine], None]) -> StageEnd:
    """
    Run `python -m ftctl_trainer STAGE` to its end, passing on each line it logs.

    Ctrl-C (and SIGTERM to this process) is sent on as SIGTERM, once; the stage saves what it has
    and ends, and this returns with `interrupted`. A second Ctrl-C kills it.
    """
    command = [sys.executable, "-m", "ftctl_trainer", stage, "--config", str(config)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "FTCTL_LOG": "json", "PYTHONUNBUFFERED": "1"},
        # Ctrl-C in a terminal goes to the whole foreground group; the stage hears of it from here.
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    tail: deque[str] = deque(maxlen=_STDERR_LINES)
    drain = threading.Thread(target=tail.extend, args=(process.stderr,), daemon=True)
    drain.start()
    with _Forwarding(process) as forwarding:
        _read(process.stdout, on_line, tail)
        code = process.wait()
    drain.join()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return StageEnd(
        exit_code=code if code >= 0 else 128 - code,
        stderr_tail="".join(tail),
        interrupted=forwarding.signals > 0,
        peak_rss_bytes=usage.ru_maxrss * _BYTES_PER_MAXRSS,
    )


def _read(stdout: IO[str], on_line: Callable[[LogLine], None], tail: deque[str]) -> None:
    for text in stdout:
        try:
            line = LogLine.model_validate_json(text)
        except ValueError:
            # Native libraries print what they like; it matters only when the stage fails.
            tail.append(text)
            continue
        on_line(line)


class _Forwarding:
    """While a stage runs, SIGINT and SIGTERM go to it instead of ending this process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.signals = 0
        self._process = process

    def __enter__(self) -> _Forwarding:
        self._before = {
            number: signal.signal(number, self._forward)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._process.poll() is None:  # an error in here must not leave a stage running
            self._process.kill()
            self._process.wait()

    def _forward(self, _number: int, _frame: object) -> None:
        self.signals += 1
        if self._process.poll() is None:
            if self.signals == 1:
                self._process.terminate()
            else:
                self._process.kill()
