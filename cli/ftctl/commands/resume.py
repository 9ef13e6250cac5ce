"""`ftctl resume`: go on with a run that stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.asking import Yes
from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet
from ftctl.commands.submit import Wait
from ftctl.commands.target import Run
from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config

# Sections that decide a run's result: `resume` would have to ignore them.
_DECIDING = ("model", "training", "dataset", "quantize", "testing", "grpo", "dpo", "orpo", "kto")


def resume(  # noqa: PLR0913  the options of a command are its interface
    run: Run,
    overrides: Overrides = None,
    here: Annotated[
        bool, typer.Option("--here", help="Go on on this machine with a run of a cluster.")
    ] = False,
    wait: Wait = False,
    yes: Yes = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Go on with a run that was stopped.

    It starts from the last checkpoint and ends in the same adapter. A run that was submitted goes
    on in its cluster. Overrides name the store, what pods get (cluster.*), and where files are
    pushed to (publish.*): what decides a run's result is taken from the run itself.

    Example: ftctl resume support-bot-4f2a91c7d03e
    """
    from ftctl.commands.run import finish, require_local
    from ftctl.commands.target import run_in
    from ftctl.config.compose import compose
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.open import open_store
    from ftctl.storage.placement import clear_placement, read_placement
    from ftctl.storage.runs import located, read_run
    from ftctl.storage.tombstones import clear_tombstones

    _refuse_other_inputs(overrides or [])
    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    store = open_store(config.storage, default=config.paths.output_dir)
    run_id = run_in(store, run)
    known = _published_as(read_run(store, run_id), config, overrides or [])
    placement = None if here else read_placement(store, run_id)
    if placement:
        from ftctl.commands.resubmit import resubmit, resumed_profile

        resubmit(
            known,
            store,
            placement,
            resumed_profile(known.config.cluster, config.cluster, overrides or []),
            wait=wait,
            yes=yes,
            as_json=as_json,
            quiet=quiet,
        )
        return
    require_local()
    clear_tombstones(store, RunLayout(run_id))
    clear_placement(store, run_id)
    # The store may have moved, or be reached another way, since the run was made.
    finish(located(known, config.storage, store.url), store, as_json=as_json, quiet=quiet)


def _published_as(run: RunFile, config: Config, overrides: Sequence[str]) -> RunFile:
    """The run with other places to push its files to, where some are named now."""
    if not any(override.lstrip("+~").startswith("publish.") for override in overrides):
        return run
    changed = run.config.model_copy(update={"publish": config.publish})
    return run.model_copy(update={"config": changed})


def _refuse_other_inputs(overrides: Sequence[str]) -> None:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        section, dot, _ = key.partition(".")
        if dot and section in _DECIDING:
            raise UsageError(
                f"{key} belongs to the run, and a resumed run keeps its own",
                where=f"override {override}",
                hint="Leave it out; other inputs make another run, with `ftctl run`.",
            )
