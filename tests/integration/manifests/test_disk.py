"""The disk that pods ask for, where their profile does not say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftctl.contract.operational import ClusterConfig, ResourcesConfig, StageResources
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.runs.disk import with_disk
from ftctl.storage.folder import FolderStore
from tests.run_files import a_run

# The models here are in folders, or nowhere.
STORE = FolderStore(Path("no-store"))
SHAPE = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def run_of(folder: Path, **resources: ResourcesConfig) -> RunFile:
    (folder / "config.json").write_text(json.dumps(SHAPE))
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
    # 8.03e9 weights: 16 GB as stored, for convert 5 GB of q4_1 and for train its checkpoints.
    train, convert = asked(with_disk(run_of(tmp_path), STORE))

    assert train is not None
    assert convert is not None
    assert int(train.removesuffix("Gi")) > 16
    assert 20 <= int(convert.removesuffix("Gi")) <= 25


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
