"""`ftctl resume`: go on with a run that stopped."""

from __future__ import annotations

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet
from ftctl.commands.target import Run


def resume(
    run: Run,
    overrides: Overrides = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Go on with a run that was stopped.

    It starts from the last checkpoint and ends in the same adapter. Overrides name the store only:
    what decides a run's result is taken from the run itself.

    Example: ftctl resume support-bot-4f2a91c7d03e
    """
    from ftctl.commands.run import finish, require_local
    from ftctl.commands.target import configured_run
    from ftctl.contract.layout import RunLayout
    from ftctl.storage.runs import read_run
    from ftctl.storage.tombstones import clear_tombstones

    require_local()
    store, run_id = configured_run(run, overrides, config_dir, config_name)
    known = read_run(store, run_id)
    clear_tombstones(store, RunLayout(run_id))
    finish(known, store, as_json=as_json, quiet=quiet)
