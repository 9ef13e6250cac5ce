"""`ftctl run`: the whole pipeline on this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides, Quiet

if TYPE_CHECKING:
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config
    from ftctl.runs.prepare import Prepared
    from ftctl.storage.base import Store

# One module of each extra, to tell whether `ftctl[local]` is installed.
_LOCAL_MODULES = ("torch", "trl", "peft", "bitsandbytes", "xllamacpp", "gguf")


def run(
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make another run of the same inputs.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Fine-tune, export and verify on this machine.

    The run is named by its inputs: the same inputs again are the same run, and a run that is
    published is not repeated. Ctrl-C saves a checkpoint.

    Example: ftctl run experiment=smoke
    """
    from ftctl.config.compose import compose
    from ftctl.data.digest import push_dataset
    from ftctl.storage.adapters import push_adapter
    from ftctl.storage.open import open_store
    from ftctl.storage.runs import register

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    require_local()
    store = open_store(config.storage, default=config.paths.output_dir)
    prepared = prepare_here(config, store, config_dir=config_dir, new=new)
    push_dataset(store, prepared.dataset)
    push_adapter(store, prepared.run.init_adapter)
    finish(register(store, prepared.run), store, as_json=as_json, quiet=quiet)


def prepare_here(
    config: Config, store: Store, *, config_dir: Path | None, new: bool = False
) -> Prepared:
    """
    Check that a run can be done on this machine, and resolve it. Nothing is written.

    Raises:
        ConfigError, DataError, StorageError: something a run needs is missing or wrong.
    """
    from ftctl.config.validate import refuse_unavailable
    from ftctl.resources import template_dirs
    from ftctl.runs.modelcheck import check_export
    from ftctl.runs.outputs import check_outputs
    from ftctl.runs.prepare import prepare, require_hub_token

    refuse_unavailable(config)
    require_hub_token(config, os.environ.get("HF_TOKEN"))
    check_outputs(config, Path.cwd())
    prepared = prepare(
        config,
        store=store,
        base_dir=Path.cwd(),
        template_dirs=template_dirs(config_dir),
        new=new,
    )
    check_export(prepared.run.config, prepared.run.model)
    return prepared


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

    from ftctl.local.pipeline import run_pipeline
    from ftctl.local.view import View
    from ftctl.storage.pushed import is_finished

    view = View(Console(stderr=True), quiet=quiet, debug="FTCTL_DEBUG" in os.environ)
    with view:
        if is_finished(store, run.run_id, run.config.publish):
            view.say(f"{run.run_id} is published already.")
            peak_rss_bytes = None
        else:
            refuse_ended(store, run.run_id)
            view.say(f"run {run.run_id} in {store.url}")
            peak_rss_bytes = run_pipeline(run, view).peak_rss_bytes
    print_outcome(store, run.run_id, peak_rss_bytes, as_json=as_json)
    if run.config.testing.output_test_file:
        write_answers(store, run.run_id, Path(run.config.testing.output_test_file))


def write_answers(store: Store, run_id: str, path: Path) -> None:
    """Write every answer to every held-out row (testing.output_test_file). Raises StorageError."""
    import json

    from ftctl.report.collect import collect
    from ftctl.storage.files import os_errors

    evaluation = collect(store, run_id).evaluation
    samples = evaluation.samples if evaluation else []
    text = json.dumps([row.model_dump() for row in samples], ensure_ascii=False, indent=1)
    with os_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


def refuse_ended(store: Store, run_id: str) -> None:
    """Refuse a run that failed for good or was cancelled. Raises RunFailedError."""
    from ftctl.contract.layout import RunLayout
    from ftctl.errors import RunFailedError
    from ftctl.storage.tombstones import find_tombstone

    tombstone = find_tombstone(store, RunLayout(run_id))
    if tombstone is not None:
        reason = f": {tombstone.reason}" if tombstone.reason else ""
        raise RunFailedError(
            f"this run is {tombstone.kind}{reason}",
            where=run_id,
            hint=f"`ftctl resume {run_id}` tries again; other inputs make another run.",
        )


def print_outcome(store: Store, run_id: str, peak_rss_bytes: int | None, *, as_json: bool) -> None:
    """Print the table of a published run and where its files are; with `as_json`, one object."""
    from ftctl.commands.answers import RunAnswer
    from ftctl.contract.layout import RunLayout
    from ftctl.report.collect import collect
    from ftctl.report.figures import size
    from ftctl.report.table import outcome_rows, outcome_text

    record = collect(store, run_id)
    layout = RunLayout(run_id)
    gguf = [file.name for file in record.gguf if file.name.endswith(".gguf")]
    if as_json:
        answer = RunAnswer(
            run_id=run_id,
            state=record.state,
            outcome=outcome_rows(record.evaluation, record.verification),
            gguf=[f"{store.url}/{layout.gguf}{name}" for name in gguf],
            report=f"{store.url}/{layout.report}",
            peak_rss_bytes=peak_rss_bytes,
        )
        typer.echo(answer.model_dump_json())
        return
    typer.echo(outcome_text(record.evaluation, record.verification) + "\n")
    for name in gguf:
        typer.echo(f"GGUF    {store.url}/{layout.gguf}{name}")
    typer.echo(f"report  {store.url}/{layout.report}")
    if peak_rss_bytes is not None:
        typer.echo(f"memory  {size(peak_rss_bytes)} at most")
