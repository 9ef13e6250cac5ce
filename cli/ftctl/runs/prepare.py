"""From a checked config to a run: model pinned, data read and digested, identity known."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftctl.contract.hubsecret import hub_secret
from ftctl.contract.identity import content_hash, deciding
from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.names import run_id, run_name
from ftctl.contract.operational import ClusterConfig
from ftctl.contract.paths import expanded
from ftctl.contract.runfile import AdapterSource, ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.data.dataset import Dataset, load_dataset
from ftctl.data.digest import dataset_record
from ftctl.data.objects import ObjectStore
from ftctl.data.templates import load_template
from ftctl.errors import ConfigError
from ftctl.runs.adapters import find_adapter
from ftctl.runs.model import resolve_model
from ftctl.runs.rewards import reward_files
from ftctl.runs.stored import InputStore
from ftctl.storage.open import open_store


@dataclass(frozen=True)
class Prepared:
    """A run and the rows it was made from, which the store may not have yet."""

    run: RunFile
    dataset: Dataset


def prepare(
    config: Config,
    *,
    store: InputStore,
    base_dir: Path,
    template_dirs: Sequence[Path],
    new: bool = False,
) -> Prepared:
    """
    Resolve everything a run depends on. Nothing is written.

    Args:
        config: composed and checked.
        store: where the run will live; data and models given by digest are read from it.
        base_dir: folder that relative data files are looked for in.
        template_dirs: folders of the named prompt layouts.
        new: add a nonce, so that the same inputs make another run.
    Raises:
        ConfigError, DataError, StorageError: something a run needs is missing or wrong.
    """
    dataset = load_dataset(config, base_dir=base_dir, store=store, open_store=open_store)
    model = resolve_model(config.model.model_name, config.model.revision, store)
    record = dataset_record(dataset)
    template = load_template(config.dataset.template, *template_dirs, base_dir=base_dir)
    rewards = reward_files(config, base_dir)
    adapter = find_adapter(config.model, store, base_dir)
    nonce = secrets.token_hex(8) if new else None
    digest = digest_of(
        config,
        model=model,
        data=record,
        template=template,
        rewards=rewards,
        adapter=adapter,
        nonce=nonce,
    )
    name = _name(config, model)
    run = RunFile(
        run_id=run_id(name, digest),
        content_hash=digest,
        nonce=nonce,
        model=model,
        init_adapter=adapter,
        data=record,
        template=template,
        reward_files=rewards,
        config=_portable(config, name, store, base_dir),
    )
    return Prepared(run, dataset)


def digest_of(
    config: Config,
    *,
    model: ModelSource,
    data: DatasetRecord,
    template: str,
    rewards: Mapping[str, str],
    adapter: AdapterSource | None,
    nonce: str | None,
) -> str:
    """The content hash of a run whose inputs were found; 64 hex digits."""
    return content_hash(
        deciding(
            config,
            model=model.name if model.kind == "hub" else None,
            revision=model.revision,
            data_digest=data.digest,
            template=template,
            reward_files=rewards,
            init_adapter=adapter.revision if adapter else None,
            nonce=nonce,
        )
    )


def _name(config: Config, model: ModelSource) -> str:
    asked = config.name or config.model.new_model
    return run_name(asked or Path(model.name.split("/")[-1]).stem)


def _portable(config: Config, name: str, store: ObjectStore, base_dir: Path) -> Config:
    """What stays true in another folder or process: absolute paths, no reference to a secret."""

    def absolute(path: str | None, key: str) -> str | None:
        return path and str((base_dir / expanded(path, key)).resolve())

    keys = ("llama_cpp_dir", "final_weights_path", "merged_model_path")
    paths = config.paths.model_copy(
        update={key: absolute(getattr(config.paths, key), f"paths.{key}") for key in keys}
    )
    return config.model_copy(
        update={
            "name": name,
            "paths": paths,
            "testing": config.testing.model_copy(
                update={
                    "output_test_file": absolute(
                        config.testing.output_test_file, "testing.output_test_file"
                    )
                }
            ),
            "other": config.other.model_copy(update={"hf_token": None}),
            "cluster": _with_hub_secret(config),
            "storage": config.storage.model_copy(update={"url": store.url}),
        }
    )


def _with_hub_secret(config: Config) -> ClusterConfig:
    """A token that is given as a reference to a Kubernetes Secret is one of the profile's."""
    found = hub_secret(config)
    if config.cluster.hf_secret or found is None:
        return config.cluster
    return config.cluster.model_copy(update={"hf_secret": "/".join(found)})


def require_hub_token(config: Config, token: str | None) -> None:
    """Refuse to start without a token where `other.hf_login` asks for one. Raises ConfigError."""
    if config.other.hf_login and not token:
        raise ConfigError(
            "other.hf_login is true, but there is no hub token",
            where="HF_TOKEN",
            hint="Set the environment variable HF_TOKEN, or other.hf_login=false.",
        )
