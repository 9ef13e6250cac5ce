"""The process of a pod: one stage, or the wait for its turn."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import NoReturn

from ftctl.contract import exits
from ftctl.contract.pods import WAIT
from ftctl.errors import FtctlError
from ftctl_trainer.logging_config import configure_logging, speaks_for_all
from ftctl_trainer.stop import install_stop_flag

_log = logging.getLogger("ftctl_trainer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage, or wait for its turn; return the exit code (contract.exits)."""
    stop = install_stop_flag()
    parser = argparse.ArgumentParser(prog="ftctl_trainer", description="Run one stage of a run.")
    parser.add_argument("stage", choices=["train", "convert", WAIT])
    parser.add_argument("--config", type=Path, required=True, help="the run's config.yaml")
    chosen = parser.parse_args(arguments)
    configure_logging()
    # Read when OpenMP is loaded with torch. Its threads otherwise spin for milliseconds while they
    # wait, and two processes on the same cores then slow one another down several times; without
    # any spinning a step of the quickstart takes half as long again (380 against 250 tokens/s).
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # Rows of many lengths leave holes in memory that is reserved in blocks of fixed size.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    # After the logging, which silences libraries before they are imported.
    from ftctl_trainer.processes.launch import leave_exit_code

    code = _exit_code(lambda: _run(chosen.stage, chosen.config, stop))
    leave_exit_code(code)
    return code


def _run(stage: str, config: Path, stop: Event) -> int:
    """Do it here, or in several processes that this one starts."""
    from ftctl_trainer.processes.group import ALONE, is_launched, join_group
    from ftctl_trainer.processes.launch import launch
    from ftctl_trainer.processes.plan import planned, splits_base
    from ftctl_trainer.processes.watch import watching
    from ftctl_trainer.runner import has_work, load_run, run_stage
    from ftctl_trainer.stages.wait import wait_for_handoff

    run = load_run(config)
    if stage == WAIT:
        wait_for_handoff(run, stop)
    elif stage == "convert":
        run_stage(run, "convert", stop)
    elif is_launched():
        group = join_group(shards=splits_base(run.config))
        with watching(group, stop):
            run_stage(run, "train", stop, group)
    else:
        plan = planned(run.config)
        if plan.world > 1:
            arguments = [stage, "--config", str(config)]
            return launch(arguments, plan, stop, partial(has_work, run, "train"))
        run_stage(run, "train", stop, ALONE)
    return exits.OK


def _exit_code(work: Callable[[], int]) -> int:
    """The error boundary of the pods."""
    try:
        return work()
    except FtctlError as error:
        level = logging.WARNING if error.exit_code == exits.STOPPED else logging.ERROR
        # Of a group the first process speaks, and whoever failed before it has told of that.
        _log.log(level if speaks_for_all() else logging.INFO, "%s", error)
        return error.exit_code
    except Exception as error:
        _log.exception("a bug: %s: %s", type(error).__name__, error)
        return exits.BUG


def end(code: int) -> NoReturn:
    """
    End the process without taking it apart, which takes seconds for torch and a model in memory.

    What was registered for the exit runs; other threads are not waited for.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more; the code still tells
            stream.flush()
    os._exit(code)
