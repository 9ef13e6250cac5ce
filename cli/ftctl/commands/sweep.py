"""`ftctl sweep`: a run of each combination of values, and the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.asking import Yes
from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Quiet
from ftctl.commands.submit import Owner
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.commands.sweep_begin import Asked
    from ftctl.contract.sweep import Objective

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=A,B|KEY=VALUE]... or SWEEP [KEY=VALUE]...",
        help="Overrides, some with several values: A,B, choice(A,B), range(A,B,STEP), glob(*), and "
        "with --search interval(A,B). Or the id of a sweep, and where its store is.",
        show_default=False,
    ),
]


def sweep(  # noqa: PLR0913  the options of a command are its interface
    arguments: Arguments = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run them on this machine, one after the other.")
    ] = False,
    from_here: Annotated[
        bool,
        typer.Option(
            "--from-here", help="Launch them from this process, which stays, not from a pod."
        ),
    ] = False,
    parallel: Annotated[
        int, typer.Option("--parallel", "-p", min=1, metavar="N", help="Runs at once in a cluster.")
    ] = 2,
    owner: Owner = None,
    search: Annotated[
        int | None,
        typer.Option(
            "--search",
            min=1,
            metavar="N",
            help="Choose N runs one after the other, by what came of those before (Optuna).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of a search.")] = 0,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="MEASURE",
            help="What the best is best in: loss, right_action, exact_match, reward.",
        ),
    ] = "loss",
    stop_bad: Annotated[
        bool,
        typer.Option(
            "--stop-bad",
            help="Stop runs whose held-out loss is above the median of others at the same step.",
        ),
    ] = False,
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias",
            metavar="NAME",
            help="Name that the best run gets. Default: SWEEP-best.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write table and plot to a file here too, as HTML.",
            show_default=False,
        ),
    ] = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Stop a sweep, and its runs that go on.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan, create nothing.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Make a run of each combination of values, and find the best.

    The same values again are the same sweep; runs that are published are not repeated. In a
    cluster a small pod, the launcher, starts the runs: this machine may go away. With the id of a
    sweep alone its table is shown, from anywhere that reaches the store.

    Example: ftctl sweep --local experiment=smoke training.learning_rate=1e-4,4e-4
    """
    from ftctl.commands.sweep_begin import Asked, begin
    from ftctl.commands.sweep_plan import Wanted
    from ftctl.contract.sweep import checked_alias

    named, overrides = _split(arguments or [])
    if local and from_here:
        raise UsageError("--local and --from-here contradict each other", hint="Say one of them.")
    if owner and not from_here:
        raise UsageError(
            "--owner is for what this process creates", hint="Say --from-here too, or leave it out."
        )
    asked = Asked(
        overrides,
        config_dir,
        config_name,
        owner=owner,
        place="local" if local else "here" if from_here else "launcher",
        parallel=parallel,
        dry_run=dry_run,
        yes=yes,
        as_json=as_json,
        quiet=quiet,
    )
    if named:
        _known(named, asked, cancel=cancel, output=output)
        return
    if cancel:
        raise UsageError(
            "which sweep is to be stopped?", hint="Name it: ftctl sweep SWEEP --cancel"
        )
    name = checked_alias(alias) if alias else None
    begin(asked, Wanted(_objective(by), stop_bad, name, search, seed), output=output)


def _known(named: str, asked: Asked, *, cancel: bool, output: Path | None) -> None:
    """Show a sweep that the store has, stop it, or go on with it."""
    from ftctl.commands.sweep_begin import go_on
    from ftctl.commands.sweep_show import show, stop
    from ftctl.commands.target import configured_store
    from ftctl.storage.sweeps import find_sweep

    store = configured_store(asked.overrides, asked.config_dir, asked.config_name)
    sweep_id = find_sweep(store, named).sweep_id
    if cancel:
        stop(store, sweep_id, quiet=asked.quiet)
    elif asked.place != "launcher":
        go_on(store, sweep_id, asked)
    show(store, sweep_id, output=output, as_json=asked.as_json, final=asked.place != "launcher")


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The sweep that is named, if one is, and the overrides."""
    named = [text for text in arguments if "=" not in text and not text.startswith("~")]
    if len(named) > 1:
        raise UsageError(
            f"{len(named)} sweeps are named: {', '.join(named)}",
            hint="Name one; overrides are written KEY=VALUE.",
        )
    return (named[0] if named else None), [text for text in arguments if text not in named]


def _objective(by: str) -> Objective:
    from ftctl.contract.sweep import OBJECTIVES

    found = next((known for known in OBJECTIVES if known == by), None)
    if found is None:
        raise UsageError(f"--by is {by!r}; allowed: {', '.join(OBJECTIVES)}")
    return found
