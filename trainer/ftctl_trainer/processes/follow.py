"""A process that trains beside the first one of its group, and writes nothing."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Metrics
from ftctl.errors import StoppedError
from ftctl.storage.open import open_store
from ftctl_trainer.context import StageContext
from ftctl_trainer.failures import known_failure
from ftctl_trainer.memory import importing
from ftctl_trainer.processes.group import Group
from ftctl_trainer.threads import available_threads

_log = logging.getLogger(__name__)


class SilentReporter:
    """A Reporter that tells nobody."""

    def phase(self, text: str) -> None:
        """Say nothing."""

    def progress(self, step: int, total: int) -> None:
        """Say nothing."""

    def metrics(self, line: Metrics) -> None:
        """Say nothing."""

    def event(self, kind: str, **data: Any) -> None:
        """Say nothing."""

    def history(self) -> list[Metrics]:
        """Nothing."""
        return []

    def flush(self) -> None:
        """Write nothing."""

    def rewind(self, step: int) -> None:
        """Change nothing."""


class NoLease:
    """A Lease of a process that writes nothing."""

    fence = 0

    def check(self) -> None:
        """Nothing can be lost."""


def follow(run: RunFile, stop: threading.Event, group: Group) -> None:
    """
    Train with the others, once the first process says that there is something to do.

    Raises:
        FtctlError: what ended this process, or the one that caused its end.
    """
    workdir = Path(tempfile.mkdtemp(prefix="ftctl-train-"))
    try:
        # It looks before it has the lease, and again when it has it.
        if group.from_first(lambda: False) and group.from_first(lambda: False):
            _train(run, stop, group, workdir)
            group.wait()
    except Exception as error:
        known = known_failure(error, str(workdir), run.config, group)
        if known is error and isinstance(error, StoppedError):
            _wait_for_first(group)
        if group.tell_failure(known or error) and known is not None:
            _log.error("%s", known)
        if known is None or known is error:
            raise
        raise known from error
    finally:
        shutil.rmtree(workdir, ignore_errors=True)


def _train(run: RunFile, stop: threading.Event, group: Group, workdir: Path) -> None:
    with importing():
        from ftctl_trainer.stages.train import run_train

    store = open_store(run.config.storage, default=run.config.paths.output_dir)
    run_train(
        StageContext(
            run, store, SilentReporter(), NoLease(), stop, workdir, available_threads(), group
        )
    )


def _wait_for_first(group: Group) -> None:
    """The first process may still be saving: whoever ends before it has it ended too."""
    try:
        group.wait()
    except RuntimeError as error:
        _log.debug("the first process is gone: %s", error)
