"""What a command works on: the store that the configuration names, and a run in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.errors import UsageError

if TYPE_CHECKING:
    from ftctl.storage.base import Store

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="Run id, or enough of its beginning to name one.", show_default=False
    ),
]


def configured_store(
    overrides: Sequence[str] | None,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> Store:
    """
    Open the store of a configuration: storage.url, or the folder paths.output_dir.

    Raises:
        ConfigError: the configuration is wrong, or names no store.
        StorageError: the store's own settings cannot be used.
    """
    from ftctl.config.compose import compose
    from ftctl.storage.open import open_store

    config = compose(overrides or (), config_dir=config_dir, config_name=config_name)
    return open_store(config.storage, default=config.paths.output_dir)


def configured_run(
    run: str,
    overrides: Sequence[str] | None,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> tuple[Store, str]:
    """
    Open the store and find the run in it; return both, the run by its whole id.

    Raises:
        UsageError: no run is meant by `run`, or several are.
        ConfigError, StorageError: as configured_store.
    """
    store = configured_store(overrides, config_dir, config_name)
    return store, run_in(store, run)


def run_in(store: Store, run: str) -> str:
    """The whole id of the run that is meant. Raises UsageError where none is, or several are."""
    from ftctl.storage.find import find_run

    if "=" in run:
        raise UsageError(
            f"the run is missing: {run!r} is an override",
            hint="Write the run id first, then overrides; `ftctl list` shows the ids.",
        )
    return find_run(store, run)
