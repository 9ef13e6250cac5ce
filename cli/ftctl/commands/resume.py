"""`ftctl resume`: go on with a run that stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from ftctl.commands.options import ConfigDir, ConfigName, Json, Overrides, Quiet


def resume(
    run_id: Annotated[str, typer.Argument(help="Run id, or the first part of one.")],
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Go on with a stopped or failed run from its last checkpoint.

    Overrides name the store only; what decides the run's result is taken from the run itself.

    Example: ftctl resume quickstart-4f2a91c7d03e
    """
    from ftctl.commands.run import finish, require_local
    from ftctl.config.compose import compose
    from ftctl.report.find import find_run
    from ftctl.storage.index import clear_tombstones
    from ftctl.storage.open import open_store
    from ftctl.storage.runs import read_run, register

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    require_local()
    store = open_store(config.storage, default=config.paths.output_dir)
    run = read_run(store, find_run(store, run_id))
    clear_tombstones(store, run.run_id)
    here = config.storage.model_copy(update={"url": store.url})
    run = run.model_copy(update={"config": run.config.model_copy(update={"storage": here})})
    finish(register(store, run), store, as_json=as_json, quiet=quiet)
