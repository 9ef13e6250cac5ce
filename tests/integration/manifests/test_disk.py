"""The disk that pods ask for, where their profile does not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftctl.contract.operational import ClusterConfig, ResourcesConfig, StageResources
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.estimate.architecture import from_config
from ftctl.estimate.host import convert_disk, train_disk
from ftctl.runs.disk import with_disk
from ftctl.storage.folder import FolderStore
from tests.run_files import LLAMA_8B, a_run

# The models here are in folders, or nowhere.
STORE = FolderStore(Path("no-store"))


def run_of(folder: Path, **resources: ResourcesConfig) -> RunFile:
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    run = a_run(model={"qtype": "q4_1"})
    cluster = ClusterConfig(resources=StageResources(**resources))
    return run.model_copy(
        update={
            "model": ModelSource(name="base", kind="folder", path=str(folder), revision="1"),
            "config": run.config.model_copy(update={"cluster": cluster}),
        }
    )


def asked(run: RunFile) -> list[str | None]:
    cluster = run.config.cluster
    return [cluster.resources.train.ephemeral_storage, cluster.resources.convert.ephemeral_storage]


def test_a_stage_asks_for_what_the_estimate_says_in_whole_gib(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    shape = from_config(LLAMA_8B)
    assert shape is not None
    wanted = [
        sum(each(shape, run.config, gguf=None).values()) / 2**30
        for each in (train_disk, convert_disk)
    ]

    found = [int((size or "").removesuffix("Gi")) for size in asked(with_disk(run, STORE))]

    assert found[0] != found[1]
    # Rounded up: a pod that asks for less than it needs may find no room.
    assert all(need <= size < need + 1 for need, size in zip(wanted, found, strict=True))


def test_what_the_profile_says_stays(tmp_path: Path) -> None:
    named = ResourcesConfig(ephemeral_storage="50Gi")
    run = run_of(tmp_path, train=named)

    assert asked(with_disk(run, STORE))[0] == "50Gi"


def test_nothing_is_asked_for_where_the_model_cannot_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    run = run_of(tmp_path)
    hub = ModelSource(name="someone/some-model", kind="hub", revision="a" * 40)

    assert asked(with_disk(run.model_copy(update={"model": hub}), STORE)) == [None, None]
