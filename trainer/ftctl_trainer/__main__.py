"""`python -m ftctl_trainer train|convert|wait --config FILE`: the process of a pod."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ftctl.contract import exits
from ftctl.contract.pods import WAIT
from ftctl.errors import FtctlError
from ftctl_trainer.logging_config import configure_logging
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
    # After the logging, which silences libraries before they are imported.
    from ftctl_trainer.runner import load_run, run_stage
    from ftctl_trainer.stages.wait import wait_for_handoff

    try:
        run = load_run(chosen.config)
        if chosen.stage == WAIT:
            wait_for_handoff(run, stop)
        else:
            run_stage(run, chosen.stage, stop)
    except FtctlError as error:
        _log.log(
            logging.WARNING if error.exit_code == exits.STOPPED else logging.ERROR, "%s", error
        )
        return error.exit_code
    except Exception as error:
        _log.exception("a bug: %s: %s", type(error).__name__, error)
        return exits.BUG
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
