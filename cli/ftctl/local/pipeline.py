"""Both stages of a run, one after the other, on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ftctl.contract.exits import STOPPED
from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import LogLine, Stage
from ftctl.errors import InterruptedRunError, RunFailedError, StoppedError, by_exit_code
from ftctl.local.process import StageEnd, run_stage
from ftctl.local.view import View
from ftctl.storage.base import Store
from ftctl.storage.runs import to_yaml

STAGES: tuple[Stage, ...] = ("train", "convert")
# 128 + SIGKILL: what the kernel's out-of-memory killer leaves.
_KILLED = 137
_SEGFAULT = 139


@dataclass(frozen=True)
class PipelineEnd:
    """What the run cost this machine."""

    peak_rss_bytes: int


def run_pipeline(run: RunFile, view: View) -> PipelineEnd:
    """
    Run the stages that are not done yet.

    Raises:
        InterruptedRunError: Ctrl-C; what was done is in the store.
        FtctlError: a stage failed, with the class that belongs to its exit code.
    """
    peak = 0
    with tempfile.TemporaryDirectory(prefix="ftctl-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(to_yaml(run), encoding="utf-8")
        for stage in STAGES:
            last = _Last()

            def on_line(line: LogLine, last: _Last = last) -> None:
                last.see(line)
                view.line(line)

            end = run_stage(stage, config, on_line)
            peak = max(peak, end.peak_rss_bytes)
            if end.exit_code != 0 or end.interrupted:
                raise _failure(run, stage, end, last)
    return PipelineEnd(peak_rss_bytes=peak)


class _Last:
    """What a stage said last: the step it reached, and the error it ended with."""

    def __init__(self) -> None:
        self.step = 0
        self.error: str | None = None

    def see(self, line: LogLine) -> None:
        if line.status is not None:
            self.step = max(self.step, line.status.step)
        if line.level == "error":
            self.error = line.message


def _failure(run: RunFile, stage: Stage, end: StageEnd, last: _Last) -> Exception:
    resume = f"Go on with `ftctl resume {run.run_id}`."
    if end.interrupted and end.exit_code in (0, STOPPED, _KILLED, 130):
        return InterruptedRunError(
            f"stopped in stage {stage}" + (f" at step {last.step}" if last.step else ""),
            where=run.run_id,
            hint=resume,
        )
    if end.exit_code == STOPPED:
        what = last.error or "stopped by a signal, or by `ftctl cancel`"
        return StoppedError(what, where=run.run_id, hint=resume)
    if last.error:
        return by_exit_code(end.exit_code)(last.error)
    reason = {
        _KILLED: "was killed, most likely for want of memory",
        _SEGFAULT: "crashed in native code",
    }.get(end.exit_code, f"ended with exit code {end.exit_code}")
    tail = end.stderr_tail.strip()
    return RunFailedError(
        f"the process {reason}" + (f"; its last output:\n{tail}" if tail else ""),
        where=f"{run.run_id}, stage {stage}",
        hint=resume,
    )


def is_published(store: Store, run_id: str) -> bool:
    """Whether the run's _SUCCESS is there: everything else may then be trusted."""
    return store.stat(RunLayout(run_id).success) is not None
