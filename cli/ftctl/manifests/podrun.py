"""The run as its pods read it: nothing of the machine that it was described on."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.operational import ClusterConfig, StorageConfig
from ftctl.contract.pods import CA_PATH
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config, PathsConfig, QuantizeConfig


def pod_run(run: RunFile) -> RunFile:
    """
    The run without local paths, times and the profile, so that it is the same from everywhere.

    The profile is left out because pods have no use for it: a retry with more memory then mounts
    the same file. Data and local models are found in the store, by their digests.
    """
    config = run.config
    update: dict[str, Any] = {
        # The convert image has llama.cpp's tools for what the built-in export does not handle.
        "paths": PathsConfig(),
        "cluster": ClusterConfig(),
        "storage": _storage(config),
        "model": config.model.model_copy(
            update={
                "model_name": _without_folder(config.model.model_name, run.model),
                "revision": run.model.revision,
            }
        ),
        "dataset": config.dataset.model_copy(
            update={"train": f"sha256:{run.data.digest}", "eval": None}
        ),
        "testing": config.testing.model_copy(
            update={"test_dataset": None, "output_test_file": None}
        ),
        "quantize": _quantize(config),
        "other": config.other.model_copy(update={"hf_token": None}),
    }
    return run.model_copy(
        update={
            "created": None,
            "model": run.model.model_copy(
                update={"name": _without_folder(run.model.name, run.model), "path": None}
            ),
            "data": _data(run.data),
            "config": config.model_copy(update=update),
        }
    )


def _storage(config: Config) -> StorageConfig:
    """The store as pods reach it: keys come from their environment, certificates from a mount."""
    private = config.storage.ca_bundle or config.cluster.ca_bundle
    return config.storage.model_copy(
        update={"profile": None, "ca_bundle": CA_PATH if private else None}
    )


def _quantize(config: Config) -> QuantizeConfig:
    """Limits of types that are not exported decide nothing, as in the identity."""
    verify = config.quantize.verify
    wanted = set(config.model.qtypes)
    limits = {name: limit for name, limit in verify.thresholds.items() if name in wanted}
    return config.quantize.model_copy(
        update={"verify": verify.model_copy(update={"thresholds": limits})}
    )


def _without_folder(name: str, model: ModelSource) -> str:
    if model.kind == "hub" or name.startswith("package:"):
        return name
    return PurePath(name).name or name


def _data(record: DatasetRecord) -> DatasetRecord:
    names = [source if "://" in source else PurePath(source).name for source in record.sources]
    return record.model_copy(update={"sources": names})
