"""Starts the processes of a group by torch's elastic launch, which torchrun is a program for."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ftctl.contract import exits
from ftctl.errors import RunFailedError
from ftctl_trainer.processes.meet import await_first_node, ending_when_asked
from ftctl_trainer.processes.plan import Processes
from ftctl_trainer.threads import available_threads

_log = logging.getLogger(__name__)

# Where each process leaves its exit code: torch tells of the first that failed alone.
_EXITS = "FTCTL_EXITS"
# Pods are killed by their grace period before; this is for processes that never answer.
_SAVING_S = 600
# The other nodes' pods may have to be scheduled, and to pull their image.
_MEETING_S = 3600
_KILLED = 137


def launch(
    arguments: Sequence[str],
    plan: Processes,
    stop: threading.Event,
    has_work: Callable[[], bool],
) -> int:
    """
    Run `python -m ftctl_trainer ARGUMENTS` as a group, and return the exit code that counts.

    That is the failing process's own. A signal is passed on, and the processes save what they
    have; nothing is started again here, as whoever started this process does that.

    Args:
        has_work: whether the stage is still to be done; a pod that is made again late may find
            that the others have finished.
    Raises:
        StoppedError: a stop was asked for before the processes were started.
        RunFailedError: the other nodes did not come.
    """
    if not has_work():
        return exits.OK
    if plan.node and not await_first_node(str(plan.meet_at), stop, has_work):
        return exits.OK
    # Read when torch is loaded: its C++ side prints a stack for every connection that closes.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Read by torch's agent.
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(_SAVING_S)
    _log.info("%d processes train together, %d of them here", plan.world, plan.local)
    with tempfile.TemporaryDirectory(prefix="ftctl-exits-") as folder:
        os.environ |= _environment(plan, folder)
        seen = _run_group(arguments, plan, folder)
        return counting([*_left(folder), *seen])


def leave_exit_code(code: int) -> None:
    """Tell the launching process, if there is one, what this one ends with."""
    folder = os.environ.get(_EXITS)
    if folder and Path(folder).is_dir():
        (Path(folder) / os.environ["RANK"]).write_text(str(code))


def counting(codes: Sequence[int]) -> int:
    """
    The exit code of a group, from those of its processes; a negative one is a signal's number.

    What the same inputs would meet again comes first. A process that stopped, or that lost
    another, says less than the one that failed by itself; one that we ended says nothing.
    """
    found = [128 - code if code < 0 else code for code in codes if code != exits.OK]
    ended_by_us = 128 + 15
    weights = {exits.STOPPED: 2, ended_by_us: 3}
    order = sorted(found, key=lambda c: 0 if c in exits.NEVER_RETRIED else weights.get(c, 1))
    return order[0] if order else exits.OK


def _run_group(arguments: Sequence[str], plan: Processes, folder: str) -> list[int]:
    """Run the processes to their end; exit codes that torch's agent saw, besides those left."""
    from torch.distributed import DistError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    _silence_torch()
    try:
        with ending_when_asked():
            elastic_launch(_settings(plan, folder), sys.executable)(
                "-m", "ftctl_trainer", *arguments
            )
    except ChildFailedError as error:
        return [failure.exitcode for failure in error.failures.values()]
    except SignalException:
        return [] if _left(folder) else [_KILLED]
    except DistError as error:
        _log.warning("another node does not answer: %s", error)
        return [exits.STOPPED]
    except RendezvousError as error:
        raise RunFailedError(
            f"the processes of the other nodes did not come: {error}", where=plan.meet_at
        ) from error
    return []


def _silence_torch() -> None:
    """Its agent tells in a format of its own of failures that the processes have told of."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _left(folder: str) -> list[int]:
    return [int(file.read_text()) for file in Path(folder).iterdir() if file.name.isdigit()]


def _environment(plan: Processes, folder: str) -> dict[str, str]:
    threads = str(max(1, available_threads() // plan.local))
    found = {_EXITS: folder, "FTCTL_THREADS": threads, "OMP_NUM_THREADS": threads}
    if plan.nodes == 1 and sys.platform == "linux":
        found["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return found


def _settings(plan: Processes, folder: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    here = plan.nodes == 1
    return LaunchConfig(
        min_nodes=plan.nodes,
        max_nodes=plan.nodes,
        nproc_per_node=plan.local,
        run_id="ftctl",
        max_restarts=0,
        rdzv_backend="c10d" if here else "static",
        rdzv_endpoint="127.0.0.1:0" if here else str(plan.meet_at),
        rdzv_configs={"timeout": _MEETING_S} | ({} if here else {"rank": plan.node}),
        local_addr="127.0.0.1" if here else None,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(folder) / "logs")),
    )
