"""Follows a run in its cluster to the end, as `ftctl run` shows one on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ftctl.errors import (
    FtctlError,
    InterruptedRunError,
    RunFailedError,
    StorageError,
    by_exit_code,
)

if TYPE_CHECKING:
    from ftctl.cluster.place import Place
    from ftctl.contract.clusterview import ClusterView, StageView
    from ftctl.local.view import View
    from ftctl.storage.base import Store

# How often the Jobs are looked at while logs are followed.
_LOOK_S = 2.0
# A laptop that changes its network, an API server that is upgraded: the run does not mind.
_PATIENCE_S = 300.0


def attach(store: Store, place: Place, *, quiet: bool) -> None:
    """
    Show a run until it ends. Ctrl-C detaches: the run goes on.

    Raises:
        InterruptedRunError: Ctrl-C.
        FtctlError: the run failed, with the class of its own exit code.
    """
    from rich.console import Console

    from ftctl.cluster.logs import follow_logs
    from ftctl.local.view import View

    view = View(Console(stderr=True), quiet=quiet, debug="FTCTL_DEBUG" in os.environ)
    watcher = _Watcher(store, place, view.say)
    try:
        with view:
            for line in follow_logs(
                place.cluster, place.namespace, place.run_id, ended=watcher.ended
            ):
                if line:
                    _show(view, line.source, line.text)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            "detached; the run goes on in the cluster",
            where=place.run_id,
            hint=f"`ftctl logs -f {place.run_id}` comes back, `ftctl cancel {place.run_id}` "
            "stops it.",
        ) from None
    error = watcher.failure()
    if error:
        raise error


class _Watcher:
    """Looks at the Jobs now and then, and says why they do not go on."""

    def __init__(self, store: Store, place: Place, say: Callable[[str], None]) -> None:
        self._store, self._place, self._say = store, place, say
        self._looked = float("-inf")
        self._answered = time.monotonic()
        self._view: ClusterView | None = None
        self._said: dict[str, str] = {}

    def ended(self) -> bool:
        """Whether the run is over; asks the cluster at most every _LOOK_S seconds."""
        if time.monotonic() - self._looked >= _LOOK_S:
            self._look()
            self._looked = time.monotonic()
        return self._view is not None and self._view.is_over

    def _look(self) -> None:
        """Raises UnreachableError, StorageError: no answer for _PATIENCE_S."""
        from ftctl.cluster.failures import UnreachableError
        from ftctl.cluster.place import look_and_keep
        from ftctl.config.secret import redact

        try:
            self._view = look_and_keep(self._place, self._store, redact)
        except (UnreachableError, StorageError) as error:
            run_id = self._place.run_id
            if time.monotonic() - self._answered > _PATIENCE_S:
                hint = f"The run itself goes on; `ftctl logs -f {run_id}` comes back to it."
                raise type(error)(error.what, where=error.where, hint=hint) from error
            self._say_once("", f"{error.what}; trying on")
            return
        self._answered = time.monotonic()
        self._said.pop("", None)
        for stage in self._view.stages:
            self._tell(stage)

    def failure(self) -> FtctlError | None:
        """The error that the run ended with, or None: it is published."""
        from ftctl.storage.pushed import is_finished

        if is_finished(self._store, self._place.run_id):
            return None
        return run_failure(self._store, self._place.run_id, self._view)

    def _tell(self, stage: StageView) -> None:
        reason = stage.reason or (stage.last_failure if stage.state == "running" else None)
        text = f"{stage.stage} {stage.state}: {reason}" if reason else ""
        # Between two attempts the reason goes and comes back: once is enough.
        if text and stage.state != "failed":
            self._say_once(stage.stage, text)

    def _say_once(self, of: str, text: str) -> None:
        if text != self._said.get(of):
            self._said[of] = text
            self._say(text)


def run_failure(store: Store, run_id: str, view: ClusterView | None) -> FtctlError:
    """Why a run that is over is not published."""
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.tombstones import find_tombstone

    resume = f"`ftctl resume {run_id}` lets it go on."
    if view and view.failed:
        return failure_of(view.failed, run_id)
    tombstone = find_tombstone(store, RunLayout(run_id))
    if tombstone:
        reason = f": {tombstone.reason}" if tombstone.reason else ""
        return RunFailedError(f"the run is {tombstone.kind}{reason}", where=run_id, hint=resume)
    return RunFailedError(
        "its Jobs are gone from the cluster before it was published", where=run_id, hint=resume
    )


def failure_of(failed: StageView, run_id: str) -> FtctlError:
    """The error that a stage failed with for good, and how to go on."""
    what = failed.reason.what if failed.reason else "it failed"
    hint = failed.reason.hint if failed.reason else None
    resume = f"`ftctl resume {run_id}` tries again; other inputs make another run."
    return _class_of(failed)(
        what,
        where=f"{run_id}, stage {failed.stage}",
        hint="\n".join(filter(None, (hint, resume))),
    )


def _class_of(failed: StageView) -> type[FtctlError]:
    if failed.exit_code is None or (failed.reason and failed.reason.code == "OOMKilled"):
        return RunFailedError
    return by_exit_code(failed.exit_code)


def _show(view: View, source: str, text: str) -> None:
    from ftctl.report.loglines import parsed

    line = parsed(text)
    if line:
        view.line(line)
    elif text.strip():
        view.say(f"{source}: {text}")
