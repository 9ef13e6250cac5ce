"""`ftctl estimate`: what a run would take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ftctl.commands.options import AsJson, ConfigDir, ConfigName, Overrides

if TYPE_CHECKING:
    from ftctl.contract.spec import Config
    from ftctl.data.dataset import Dataset
    from ftctl.estimate.facts import Estimate
    from ftctl.storage.base import Store


def estimate(
    overrides: Overrides = None,
    as_json: AsJson = False,
    config_dir: ConfigDir = None,
    config_name: ConfigName = None,
) -> None:
    """Say what a run would take: memory, steps, time, price, disk.

    Nothing is downloaded but the model's config.json. A run that its GPU has no room for is
    refused, and what would make it fit is named; the estimate is printed all the same.

    Example: ftctl estimate experiment=quickstart cluster=cpu
    """
    from ftctl.config.compose import compose
    from ftctl.estimate.fits import check_fits, check_host
    from ftctl.estimate.text import estimate_text

    config = compose(overrides or [], config_dir=config_dir, config_name=config_name)
    found = estimated(config, config_dir=config_dir)
    found = found.model_copy(update={"notes": [*found.notes, *check_host(found, config)]})
    typer.echo(found.model_dump_json() if as_json else estimate_text(found))
    check_fits(found, found.gpu_memory)


def estimated(
    config: Config, *, config_dir: Path | None = None, dataset: Dataset | None = None
) -> Estimate:
    """
    The estimate of a configuration; `submit` and `estimate` show the same.

    Args:
        dataset: the rows, where they were loaded already.
    Raises:
        ConfigError, DataError, StorageError: the model or the rows are not what they should be.
    """
    from ftctl.data.templates import load_template
    from ftctl.estimate.run import estimate_run
    from ftctl.resources import template_dirs
    from ftctl.runs.facts import base_facts, row_facts
    from ftctl.storage.open import open_store

    store = open_store(config.storage, default=config.paths.output_dir)
    base = base_facts(config.model.model_name, config.model.revision, store)
    dataset = dataset or _dataset(config, store)
    rows = None
    if dataset is not None:
        template = load_template(config.dataset.template, *template_dirs(config_dir))
        rows = row_facts(dataset, template, base.tokenizer)
    notes = (base.unknown,) if base.unknown else ()
    return estimate_run(config, base.shape, rows, gguf_bytes=base.gguf_bytes, notes=notes)


def _dataset(config: Config, store: Store) -> Dataset | None:
    """The rows, or None where the configuration names none: a model can be tried on a GPU alone."""
    from ftctl.data.dataset import load_dataset
    from ftctl.storage.open import open_store

    if not (config.dataset.train or config.model.dataset_name or config.grpo.train_data):
        return None
    return load_dataset(config, base_dir=Path.cwd(), store=store, open_store=open_store)
