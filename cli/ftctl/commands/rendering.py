"""From a configuration to a run's objects, as `render`, `diff` and `submit` show or create them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftctl.cluster.client import Cluster
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config
    from ftctl.runs.prepare import Prepared
    from ftctl.runs.stored import InputStore


@dataclass(frozen=True)
class Rendering:
    """A run and its objects, in the order to create them."""

    prepared: Prepared
    objects: list[dict[str, Any]]


def render_run(
    config: Config, *, config_dir: Path | None, new: bool = False, store: InputStore | None = None
) -> Rendering:
    """
    Resolve and render a run. Nothing is written, and no cluster is asked.

    Args:
        store: where the run will live; without it, it is opened only if an input is in it.
    Raises:
        ConfigError, DataError, StorageError: something a run needs is missing or wrong.
        ManifestError: an object cannot be made.
    """
    from ftctl.config.validate import refuse_unavailable
    from ftctl.manifests.checks import refuse_unfit
    from ftctl.resources import template_dirs
    from ftctl.runs.disk import with_disk
    from ftctl.runs.prepare import prepare
    from ftctl.storage.later import LaterStore

    refuse_unavailable(config)
    refuse_unfit(config)
    store = store or LaterStore(config.storage)
    prepared = prepare(
        config,
        store=store,
        base_dir=Path.cwd(),
        template_dirs=template_dirs(config_dir),
        new=new,
    )
    prepared = replace(prepared, run=with_disk(prepared.run, store))
    return Rendering(prepared, objects_of(prepared.run))


def for_cluster(rendering: Rendering, cluster: Cluster) -> Rendering:
    """The rendering for the engine that a cluster has, where the profile leaves it open."""
    from ftctl.cluster.engine import with_engine

    run = rendering.prepared.run
    profile = with_engine(run.config.cluster, cluster)
    if profile == run.config.cluster:
        return rendering
    run = run.model_copy(update={"config": run.config.model_copy(update={"cluster": profile})})
    return Rendering(replace(rendering.prepared, run=run), objects_of(run))


def objects_of(run: RunFile) -> list[dict[str, Any]]:
    """The objects of a run that is known; certificates are read from this machine."""
    from ftctl.manifests.run import run_objects
    from ftctl.runs.certificates import read_certificates

    return run_objects(run, ca_pem=read_certificates(run.config, Path.cwd()))


def push_inputs(rendering: Rendering) -> None:
    """Put what pods read and may lack into the store: the data set, a model of this machine."""
    from ftctl.data.digest import push_dataset
    from ftctl.storage.adapters import push_adapter
    from ftctl.storage.models import push_model
    from ftctl.storage.open import open_store

    run = rendering.prepared.run
    store = open_store(run.config.storage)
    push_dataset(store, rendering.prepared.dataset)
    push_model(store, run.model)
    push_adapter(store, run.init_adapter)
