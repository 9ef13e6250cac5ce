"""The disk that a run's pods ask for, where their profile leaves it open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import get_args

from ftctl.contract.operational import ClusterConfig, StageResources
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stage
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
    if all(disk_of(run.config.cluster).values()):
        return run
    base = base_facts(run.model.path or run.model.name, run.model.revision, store)
    if base.shape is None:
        return run
    parts: dict[Stage, dict[str, int]] = {
        "train": train_disk(base.shape, run.config, gguf=base.gguf_bytes),
        "convert": convert_disk(base.shape, run.config, gguf=base.gguf_bytes),
    }
    asked = {stage: f"{math.ceil(sum(each.values()) / _GIB)}Gi" for stage, each in parts.items()}
    cluster = disk_asked(run.config.cluster, asked)
    return run.model_copy(update={"config": run.config.model_copy(update={"cluster": cluster})})


def disk_asked(cluster: ClusterConfig, asked: Mapping[Stage, str | None]) -> ClusterConfig:
    """The profile with `asked` (stage to quantity) where it does not say itself."""
    stages = {
        stage: cluster.resources_of(stage).model_copy(
            update={"ephemeral_storage": size or asked.get(stage)}
        )
        for stage, size in disk_of(cluster).items()
    }
    return cluster.model_copy(update={"resources": StageResources(**stages)})


def disk_of(cluster: ClusterConfig) -> dict[Stage, str | None]:
    """What a profile says of the disk, by stage."""
    stages: tuple[Stage, ...] = get_args(Stage)
    return {stage: cluster.resources_of(stage).ephemeral_storage for stage in stages}
