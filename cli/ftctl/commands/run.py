"""`ftctl run`: the whole pipeline on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import ConfigDir, ConfigName, Json, Overrides, Quiet

if TYPE_CHECKING:
    from ftctl.contract.runfile import RunFile
    from ftctl.storage.base import Store

# One module of each extra, to tell whether `ftctl[local]` is installed.
_LOCAL_MODULES = ("torch", "trl", "peft", "bitsandbytes", "xllamacpp", "gguf")


def run(
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make another run of the same inputs.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Train, convert and prove a model on this machine.

    The run is named by its inputs: the same inputs again are the same run, and a run that is
    published is not repeated. Ctrl-C saves a checkpoint.

    Example: ftctl run experiment=smoke
    """
    from ftctl.config.compose import compose
    from ftctl.config.validate import refuse_unavailable
    from ftctl.data.digest import push_dataset
    from ftctl.resources import conf_dir
    from ftctl.runs.prepare import prepare, require_hub_token
    from ftctl.storage.open import open_store
    from ftctl.storage.runs import register

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    refuse_unavailable(config)
    require_hub_token(config, os.environ.get("HF_TOKEN"))
    require_local()
    store = open_store(config.storage, default=config.paths.output_dir)
    prepared = prepare(
        config,
        store=store,
        base_dir=Path.cwd(),
        template_dir=conf_dir() / "dataset" / "templates",
        new=new,
    )
    push_dataset(store, prepared.dataset)
    finish(register(store, prepared.run), store, as_json=as_json, quiet=quiet)


def require_local() -> None:
    """Refuse a local run where the training or export libraries are missing. Raises UsageError."""
    from ftctl.errors import UsageError

    missing = [name for name in _LOCAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"running here needs {', '.join(missing)}, which this installation lacks",
            hint="Install them: pip install 'ftctl[local]'",
        )


def finish(run: RunFile, store: Store, *, as_json: bool, quiet: bool) -> None:
    """Run what is left of a run and print its outcome; shared by `run` and `resume`."""
    from rich.console import Console

    from ftctl.local.pipeline import is_published, run_pipeline
    from ftctl.local.view import View
    from ftctl.report.collect import collect
    from ftctl.storage.index import refuse_tombstone

    refuse_tombstone(store, run.run_id)
    view = View(Console(stderr=True), quiet=quiet)
    peak_rss_bytes = None
    with view:
        if is_published(store, run.run_id):
            view.say(f"{run.run_id} is published already")
        else:
            view.say(f"run {run.run_id}")
            peak_rss_bytes = run_pipeline(run, view).peak_rss_bytes
    _print_outcome(collect(store, run.run_id), store, peak_rss_bytes, as_json=as_json)
