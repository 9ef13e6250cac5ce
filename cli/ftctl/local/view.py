"""Shows a running stage on stderr: a line that moves on a terminal, a line a change elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from ftctl.contract.status import LogLine, Status
from ftctl.report.figures import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class View:
    """Use as a context manager; give it every line a stage logs."""

    def __init__(self, console: Console, *, quiet: bool = False, debug: bool = False) -> None:
        from rich.live import Live

        self._console = console
        self._quiet = quiet
        self._debug = debug
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._moving = console.is_terminal and not quiet
        self._said = ""

    def __enter__(self) -> View:
        if self._moving:
            self._live.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._moving:
            self._live.stop()

    def line(self, line: LogLine) -> None:
        """Show one log line of a stage."""
        if line.traceback and self._debug:
            self.say(line.traceback)
        if line.status is not None:
            self._status(line.status)
        elif line.level == "info":
            self.say(f"        {line.message}")
        elif line.level != "error":  # an error ends the stage, and is told by whoever runs it
            self.say(f"{line.level}: {line.message}")

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _status(self, status: Status) -> None:
        if self._moving:
            self._live.update(_renderable(status))
            return
        # Elsewhere than on a terminal, only a new phase or a newly logged loss is worth a line.
        key = f"{status.stage} {status.phase} {status.loss}"
        if key != self._said:
            self._said = key
            self.say(describe(status))


def describe(status: Status) -> str:
    """One line: `train  training  120/270  loss 0.412  431 tokens/s  ETA 1m05s`."""
    parts = [f"{status.stage:<8}{status.phase}"]
    if status.total_steps:
        parts.append(f"step {status.step}/{status.total_steps}")
    if status.loss is not None:
        parts.append(f"loss {status.loss:.4f}")
    if status.real_tokens_per_s:
        parts.append(f"{status.real_tokens_per_s:,.0f} tokens/s")
    if status.eta_s is not None:
        parts.append(f"ETA {duration(status.eta_s)}")
    return "  ".join(parts)


def _renderable(status: Status) -> RenderableType:
    from rich.columns import Columns
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots", text=Text(describe(status)))
    if not status.total_steps or status.stage != "train":
        return spinner
    bar = ProgressBar(total=status.total_steps, completed=status.step, width=24)
    return Columns([bar, spinner])
