"""The disk that a run's pods ask for, where their profile leaves it open."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ftctl.contract.operational import ClusterConfig, StageResources
from ftctl.contract.runfile import RunFile
from ftctl.estimate.host import convert_disk, train_disk
from ftctl.runs.facts import base_facts
from ftctl.storage.base import Readable

_GIB = 2**30


def with_disk(run: RunFile, store: Readable) -> RunFile:
    """
    The run with the estimate's disk in its profile, in whole GiB.

    A model of the hub whose config.json is neither cached nor reachable leaves it open: nothing is
    asked for then.
    """
    resources = run.config.cluster.resources
    if resources.train.ephemeral_storage and resources.convert.ephemeral_storage:
        return run
    base = base_facts(run.model.path or run.model.name, run.model.revision, store)
    if base.shape is None:
        return run
    parts = {
        "train": train_disk(base.shape, run.config, gguf=base.gguf_bytes),
        "convert": convert_disk(base.shape, run.config, gguf=base.gguf_bytes),
    }
    asked = {stage: f"{math.ceil(sum(each.values()) / _GIB)}Gi" for stage, each in parts.items()}
    cluster = disk_asked(run.config.cluster, asked)
    return run.model_copy(update={"config": run.config.model_copy(update={"cluster": cluster})})


def disk_asked(cluster: ClusterConfig, asked: Mapping[str, str | None]) -> ClusterConfig:
    """The profile with `asked` (stage to quantity) where it does not say itself."""
    stages = {
        stage: each.model_copy(
            update={"ephemeral_storage": each.ephemeral_storage or asked.get(stage)}
        )
        for stage, each in (
            ("train", cluster.resources.train),
            ("convert", cluster.resources.convert),
        )
    }
    return cluster.model_copy(update={"resources": StageResources(**stages)})
