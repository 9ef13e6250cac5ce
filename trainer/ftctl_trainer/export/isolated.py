"""Calls into native code, each in a process of its own: a crash there becomes a clear error."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

from ftctl.errors import FtctlError, RunFailedError
from ftctl_trainer.failures import expected_failure
from ftctl_trainer.stop import end_if_stopped

P = ParamSpec("P")
T = TypeVar("T")

_POLL_S = 0.2
_EXIT_S = 10


def isolated(
    stop: threading.Event, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """
    Call a module-level function in a fresh process and return what it returns.

    Raises:
        StoppedError: `stop` was set meanwhile; the process was killed.
        FtctlError: as the function raised it.
        RunFailedError: the process died, as of a segmentation fault or for lack of memory.
        RuntimeError: it raised anything else, which is a bug; the message has its traceback.
    """
    return isolated_beside({}, stop, function, *args, **kwargs)


def isolated_beside(
    packages: dict[str, Path],
    stop: threading.Event,
    function: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """The same in a process that takes some packages from these folders, whatever is installed."""
    # spawn: a forked copy of a process with threads (torch, BLAS) may hang.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    # Pickled here, since the packages must be there before the function's own imports.
    call = pickle.dumps((function, args, kwargs))
    process = context.Process(target=_serve, args=(sender, packages, call), daemon=True)
    # The work there is cut over threads by itself. A matrix product that is cut again waits for
    # cores that work already, and spins meanwhile. Read when numpy is imported, so set before.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    process.start()
    sender.close()
    try:
        while not receiver.poll(_POLL_S):
            end_if_stopped(stop)
        outcome: T | FtctlError | _Bug = receiver.recv()
    except EOFError:
        process.join()
        raise RunFailedError(
            f"{function.__name__} ended without a result, {_ending(process.exitcode)}",
            where="the export",
            hint="Out of memory kills like this too; see the log above, or try a smaller type.",
        ) from None
    finally:
        # After a result nothing is left to do; a server's threads might linger.
        if not stop.is_set():
            process.join(_EXIT_S)
        process.kill()
        process.join()
    if isinstance(outcome, FtctlError):
        raise outcome
    if isinstance(outcome, _Bug):
        raise RuntimeError(f"{function.__name__} failed:\n{outcome.traceback}")
    return outcome


@dataclass(frozen=True)
class _Bug:
    """An exception that nobody expects; itself it may not cross a pipe."""

    traceback: str


def import_from(folder: Path, package: str) -> ModuleType:
    """Import a package from a folder, which does not stay on sys.path."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(package)
    finally:
        sys.path[:] = before


def _serve(sender: Connection, packages: dict[str, Path], call: bytes) -> None:
    # Both may reach the whole process group; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        for package, folder in packages.items():
            import_from(folder, package)
        function, args, kwargs = pickle.loads(call)
        sender.send(function(*args, **kwargs))
    except FtctlError as error:
        sender.send(error)
    except Exception as error:
        known = expected_failure(error, tempfile.gettempdir())
        sender.send(known or _Bug(traceback.format_exc()))
    # torch takes half a second to take itself apart, and the caller waits for the end.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"killed by {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"
