"""The children of a sweep on this machine, one after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ftctl.commands.sweep_children import Children, Judge
from ftctl.errors import FtctlError, InterruptedRunError, StoppedError
from ftctl.local.view import View

if TYPE_CHECKING:
    from ftctl.contract.operational import StorageConfig
    from ftctl.contract.status import LogLine, Metrics
    from ftctl.contract.sweep import Child, Sweep
    from ftctl.storage.base import Store


def run_here(store: Store, sweep: Sweep, storage: StorageConfig, *, quiet: bool) -> None:
    """
    Do what is left of a sweep. A child that fails is told, and the next one begins.

    Raises:
        InterruptedRunError: Ctrl-C; the same sweep again goes on.
        StoppedError: a child was stopped by somebody, and can go on later.
    """
    from rich.console import Console

    from ftctl.storage.sweeps import is_cancelled

    children, judge = Children(store, sweep), Judge(store)
    number = 0
    while not is_cancelled(store, sweep.sweep_id) and (child := children.next()):
        number += 1
        view = _SweepView(Console(stderr=True), quiet=quiet, debug="FTCTL_DEBUG" in os.environ)
        view.judge = _Judging(judge, children, child.run_id, view)
        with view:
            values = " ".join(f"{key}={value}" for key, value in child.values.items())
            view.say(f"[{number}/{sweep.trials}] {child.run_id}  {values}")
            _run_child(store, child, storage, view)


def _run_child(store: Store, child: Child, storage: StorageConfig, view: _SweepView) -> None:
    from ftctl.contract.layout import RunLayout
    from ftctl.local.pipeline import run_pipeline
    from ftctl.storage.pushed import is_finished
    from ftctl.storage.runs import located, read_run
    from ftctl.storage.tombstones import find_tombstone

    run = located(read_run(store, child.run_id), storage, store.url)
    if is_finished(store, child.run_id, run.config.publish):
        view.say("        is published already")
        return
    tombstone = find_tombstone(store, RunLayout(child.run_id))
    if tombstone:
        view.say(f"        is {tombstone.kind} {tombstone.reason}".rstrip())
        return
    try:
        run_pipeline(run, view)
    except InterruptedRunError as error:
        raise InterruptedRunError(
            error.what,
            where=error.where,
            hint="The same sweep again goes on with this run, and then with the others.",
        ) from error
    except StoppedError:
        ended = find_tombstone(store, RunLayout(child.run_id))
        if ended is None:
            raise
        view.say(f"        {ended.kind} {ended.reason}".rstrip())
    except FtctlError as error:
        view.say(f"warning: {child.run_id} failed: {error.what}")


class _Judging:
    """Compares a child with the others whenever its held-out loss was measured."""

    def __init__(self, judge: Judge, children: Children, run_id: str, view: View) -> None:
        self._judge, self._children, self._run_id, self._view = judge, children, run_id, view
        self._metrics: list[Metrics] = []
        self._stopped = False

    def see(self, metrics: Metrics) -> None:
        """Called with every line of the child's metrics."""
        self._metrics.append(metrics)
        if metrics.eval_loss is None or self._stopped:
            return
        children = self._children
        reason = self._judge.consider(children.sweep, self._run_id, children.given, self._metrics)
        if reason:
            self._stopped = True
            self._view.say(f"        is to stop: {reason}")


class _SweepView(View):
    """A view that passes metrics on."""

    judge: _Judging | None = None

    def line(self, line: LogLine) -> None:
        """Show one log line of a stage."""
        super().line(line)
        if line.metrics is not None and self.judge:
            self.judge.see(line.metrics)
