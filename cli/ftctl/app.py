"""The `ftctl` program: its commands, imported when they are used, and the one error boundary."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TextIO

import typer
from typer.core import TyperGroup

from ftctl.errors import FtctlError, InterruptedRunError, StorageError

_BUG = FtctlError.exit_code
_DEBUG = "--debug"

# name: (what to import, first line of its help). Importing a command only to show its help would
# make `ftctl --help` slow; a test compares these lines with the docstrings.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": (
        "ftctl.commands.run:run",
        "Fine-tune, export and verify on this machine.",
    ),
    "submit": (
        "ftctl.commands.submit:submit",
        "Fine-tune, export and verify in a Kubernetes cluster.",
    ),
    "sweep": (
        "ftctl.commands.sweep:sweep",
        "Make a run of each combination of values, and find the best.",
    ),
    "render": (
        "ftctl.commands.render:render",
        "Print a run as Kubernetes YAML; asks no cluster.",
    ),
    "diff": (
        "ftctl.commands.diff:diff",
        "Show what a run would change in its cluster.",
    ),
    "resume": (
        "ftctl.commands.resume:resume",
        "Go on with a run that was stopped.",
    ),
    "list": (
        "ftctl.commands.list:list_runs",
        "List the runs in the store, newest first.",
    ),
    "status": (
        "ftctl.commands.status:status",
        "Show where a run is: stage, step, loss, time left.",
    ),
    "logs": (
        "ftctl.commands.logs:logs",
        "Show what the pods of a run print.",
    ),
    "cancel": (
        "ftctl.commands.cancel:cancel",
        "Stop a run; what it has done is kept.",
    ),
    "report": (
        "ftctl.commands.report:report",
        "Write or show the report of a run.",
    ),
    "compare": (
        "ftctl.commands.compare:compare",
        "Show how runs differ: settings, scores, proofs, losses.",
    ),
    "download": (
        "ftctl.commands.download:download",
        "Fetch what a run has published, each file checked.",
    ),
    "gc": (
        "ftctl.commands.gc:gc",
        "Remove what finished and cancelled runs left behind.",
    ),
    "estimate": (
        "ftctl.commands.estimate:estimate",
        "Say what a run would take: memory, steps, time, price, disk.",
    ),
    "doctor": (
        "ftctl.commands.doctor:doctor",
        "Check that cluster and store are ready for a run.",
    ),
    "secrets": (
        "ftctl.commands.secrets:app",
        "Create and check the Secrets that a run's pods refer to.",
    ),
    "config": (
        "ftctl.commands.config:app",
        "Show, check and explain the configuration.",
    ),
    "data": (
        "ftctl.commands.data:app",
        "Check, describe and upload data sets.",
    ),
    "version": (
        "ftctl.commands.version:version",
        "Print the version of ftctl and of what it works with.",
    ),
}


class LazyGroup(TyperGroup):
    """
    Imports a command when it is used; turns errors into a message and an exit code.

    `--debug` is understood before and after the command.
    """

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None where there is no such one."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = load_command(cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a mistyped one is answered with the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from ftctl.config.nearest import nearest

            close = nearest(args[0], COMMANDS)
            ctx.fail(
                f"No such command '{args[0]}'." + (f" Did you mean '{close}'?" if close else "")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` from wherever it stands before a `--`."""
        end = args.index("--") if "--" in args else len(args)
        if _DEBUG in args[:end]:
            ctx.meta[_DEBUG] = True
            os.environ["FTCTL_DEBUG"] = "1"  # a stage's own process shows its traceback too
            args = [arg for arg in args[:end] if arg != _DEBUG] + args[end:]
        return super().parse_args(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Read the command line; `--help` prints here, before any command runs."""
        with _boundary(debug=_DEBUG in args):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with _boundary(debug=_DEBUG in ctx.meta):
            return super().invoke(ctx)


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def ftctl(
    debug: Annotated[
        bool,
        typer.Option(_DEBUG, help="Show the traceback of an error; works after the command too."),
    ] = False,
) -> None:
    """Fine-tune a language model with QLoRA and get back a GGUF that was proven against it.

    Example: ftctl run experiment=quickstart
    """


def main() -> None:
    """Entry point of the `ftctl` program."""
    # Imports and models make many objects that stay: collecting among them takes a sixth of the
    # time of `ftctl config show` (benchmarks/cli_startup.py).
    gc.set_threshold(100_000)
    app(prog_name="ftctl")


def load_command(name: str) -> Any:
    """Import the command `name`, as typer runs it."""
    module_name, _, attribute = COMMANDS[name][0].partition(":")
    target = getattr(importlib.import_module(module_name), attribute)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    single = typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
    )
    single.command(name)(target)
    return typer.main.get_command(single)


@contextmanager
def _boundary(*, debug: bool) -> Iterator[None]:
    """The one error boundary of the command line: an error becomes a message and an exit code."""
    try:
        yield
    except FtctlError as error:
        _fail(_message(error), error.exit_code, debug=debug)
    except KeyboardInterrupt:
        _fail("interrupted", InterruptedRunError.exit_code, debug=debug)
    except BrokenPipeError:
        _leave_quietly()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename or "the output"
            if not error.filename:
                _discard(sys.stdout)
            text = f"{where}: no space left on this machine's disk"
            hint = "Free some, or set TMPDIR to a larger disk."
            _fail(f"{text}\n{hint}", StorageError.exit_code, debug=debug)
        if type(error).__module__.partition(".")[0] in ("typer", "click"):
            raise  # Exit, Abort and usage errors: typer answers these itself.
        text = f"a bug: {type(error).__name__}: {error}"
        hint = f"Run it again with {_DEBUG} for the traceback, and report it."
        _fail(f"{text}\n{hint}", _BUG, debug=debug)


def _message(error: FtctlError) -> str:
    where = f"{error.where}: " if error.where else ""
    return f"{where}{error.what}" + (f"\n{error.hint}" if error.hint else "")


def _fail(message: str, exit_code: int, *, debug: bool) -> NoReturn:
    from ftctl.config.secret import redact

    if debug:
        import traceback

        message = f"{traceback.format_exc()}error: {message}"
    else:
        message = f"error: {message}"
    try:
        typer.echo(redact(message), err=True)
    except OSError:  # nobody can read it; the code still tells
        _discard(sys.stderr)
    raise typer.Exit(exit_code)


def _leave_quietly() -> NoReturn:
    """Whoever read our output has enough."""
    _discard(sys.stdout)
    raise typer.Exit(0)


def _discard(stream: TextIO | None) -> None:
    """Let what is still buffered go nowhere: at its end Python would try, and fail, once more."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
