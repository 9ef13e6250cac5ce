"""`ftctl data`: look at a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ftctl.commands.answers import BadRow
    from ftctl.contract.spec import Config
    from ftctl.data.dataset import Dataset
    from ftctl.data.problems import Problem
    from ftctl.data.stats import DatasetStats
    from ftctl.storage.base import Store

app = typer.Typer(help="Check, describe and upload data sets.", no_args_is_help=True)

What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE|OVERRIDE",
        help="Data files to train on, and overrides such as dataset=quickstart or "
        "dataset.max_bad=3.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", help="Folder with configuration of your own.")
]
ConfigName = Annotated[
    str | None, typer.Option("--config-name", help="Main file in that folder, without .yaml.")
]


@app.command()
def validate(
    what: What = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Check every row of a data set and its layout; name bad rows with file, line and reason.

    Example: ftctl data validate dataset=quickstart
    """
    from ftctl.data.problems import BadRowsError

    config = _config(what, config_dir, config_name)
    _check_layout(config, config_dir)
    try:
        dataset = _load(config)
    except BadRowsError as error:
        if as_json:
            from ftctl.commands.answers import BadDataAnswer

            told = BadDataAnswer(ok=False, problems=_bad_rows(error.problems))
            typer.echo(told.model_dump_json())
        raise
    if as_json:
        typer.echo(_validated(dataset))
        return
    for problem in dataset.problems:
        typer.echo(f"left out: {problem}", err=True)
    for file in dataset.files:
        typer.echo(f"{file.split}  {file.file}: {file.rows} rows, {file.bad} bad ({file.format})")
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in dataset.splits.items())
    typer.echo(f"ok: {counts}")


@app.command()
def stats(
    what: What = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Describe a data set: rows, lengths, actions, languages, repetitions, overlap.

    Example: ftctl data stats dataset=quickstart
    """
    from ftctl.data.stats import dataset_stats

    described = dataset_stats(_load(_config(what, config_dir, config_name)).splits)
    typer.echo(described.model_dump_json() if as_json else _stats_text(described))


@app.command()
def push(
    what: What = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Check a data set and upload it to the store, once, under its digest.

    Example: ftctl data push dataset=quickstart storage.url=/tmp/ftctl-store
    """
    from ftctl.data.digest import push_dataset

    config = _config(what, config_dir, config_name)
    store = _store(config)
    record = push_dataset(store, _load(config))
    if as_json:
        typer.echo(record.model_dump_json())
        return
    counts = ", ".join(f"{count} {name}" for name, count in record.rows.items())
    typer.echo(f"{counts} rows are in {store.url}; use them with dataset.train=DIGEST", err=True)
    typer.echo(f"sha256:{record.digest}")


def is_file_argument(argument: str) -> bool:
    """Whether an argument is a data file: every Hydra override has a `=`, or a `~` before it."""
    return "=" not in argument and not argument.startswith("~")


def _config(what: Sequence[str] | None, config_dir: Path | None, name: str | None) -> Config:
    from ftctl.config.compose import compose

    files = [argument for argument in what or () if is_file_argument(argument)]
    overrides = [argument for argument in what or () if not is_file_argument(argument)]
    config = compose(overrides, config_dir=config_dir, config_name=name)
    if not files:
        return config
    # Set past Hydra, whose override grammar would want odd characters in file names quoted.
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"train": files})})


def _check_layout(config: Config, config_dir: Path | None) -> None:
    from ftctl.data.templates import load_template
    from ftctl.resources import template_dirs

    load_template(config.dataset.template, *template_dirs(config_dir))


def _load(config: Config) -> Dataset:
    from ftctl.data.dataset import load_dataset
    from ftctl.storage.open import open_store

    return load_dataset(config, base_dir=Path.cwd(), store=_store(config), open_store=open_store)


def _store(config: Config) -> Store:
    from ftctl.storage.open import open_store

    return open_store(config.storage, default=config.paths.output_dir)


def _validated(dataset: Dataset) -> str:
    from ftctl.commands.answers import ValidDataAnswer

    return ValidDataAnswer(
        ok=True,
        rows={name: len(rows) for name, rows in dataset.splits.items()},
        files=dataset.files,
        problems=_bad_rows(dataset.problems),
    ).model_dump_json()


def _bad_rows(problems: Sequence[Problem]) -> list[BadRow]:
    from ftctl.commands.answers import BadRow

    return [BadRow.model_validate(problem.as_json()) for problem in problems]


def _stats_text(described: DatasetStats) -> str:
    lines = []
    for name, split in described.splits.items():
        lines.append(f"{name}: {split.rows} rows, {split.duplicates} repeated")
        lines.append(f"  prompt characters  {_counts(split.prompt_characters)}")
        lines.append(f"  answer characters  {_counts(split.answer_characters)}")
        lines.append(f"  scripts            {_counts(split.scripts)}")
        if split.actions:
            lines.append(f"  actions            {_counts(split.actions)}")
            lines.append(f"  not available      {split.unavailable} right actions")
    for name, shared in described.overlap.items():
        lines.append(
            f"{name} in train: {shared.same_request} of {shared.rows} requests, "
            f"{shared.same_prompt} whole prompts"
        )
    return "\n".join(lines)


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in values.items())
