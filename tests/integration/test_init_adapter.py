"""Going on from an adapter: an earlier run's or a folder's, with the shape it has."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.spec import ModelConfig
from ftctl.errors import ConfigError, StorageError
from ftctl.runs.adapters import find_adapter
from ftctl.storage.adapters import pull_adapter, push_adapter
from tests.integration.method_runs import pairs, preferences
from tests.integration.tiny_model import make_tiny_model
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
FIRST = "first-0123456789ab"
SHAPE = ModelConfig(lora_r=4, modules_to_save=[])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A short run of SFT that others go on from; about ten seconds."""
    root = tmp_path_factory.mktemp("first")
    settings: dict[str, Any] = {"training": {"max_steps": 4}, "testing": {"test": False}}
    run = TinyRun(root, make_tiny_model(root / "model"), settings, run_id=FIRST).write()
    code, lines = run.train_now()
    assert code == 0, lines
    return run


def test_dpo_goes_on_from_a_run_that_is_its_reference_and_resumes_to_the_same_bytes(
    first: TinyRun, tmp_path: Path
) -> None:
    whole = _after(first, tmp_path / "whole")
    code, lines = whole.train_now()
    assert code == 0, lines
    assert any(f"going on from the adapter of {FIRST}" in line["message"] for line in lines)
    losses = [line for line in whole.metrics() if "loss" in line]
    # Nothing is preferred yet to what the first run taught.
    assert losses[0]["loss"] == pytest.approx(0.6931, abs=0.05)
    assert losses[0]["reward_margin"] == pytest.approx(0.0, abs=0.1)
    keys = [item.key for item in whole.store.list(whole.layout.checkpoints)]
    assert not [key for key in keys if "/ref/" in key]

    killed = _after(first, tmp_path / "killed")
    assert killed.interrupt_at(4, signal.SIGKILL)[0] == -signal.SIGKILL
    killed.expire_lease()
    code, lines = killed.train_now()
    assert code == 0, lines
    assert killed.read(ADAPTER) == whole.read(ADAPTER)
    assert killed.metrics() == whole.metrics()


def test_a_folder_of_peft_comes_into_the_store_and_out_again(
    first: TinyRun, tmp_path: Path
) -> None:
    folder = Path(first.store.url) / first.layout.adapter
    shutil.copytree(folder, tmp_path / "adapter")
    source = find_adapter(
        SHAPE.model_copy(update={"init_adapter": "adapter"}), first.store, tmp_path
    )
    of_run = find_adapter(SHAPE.model_copy(update={"init_adapter": FIRST}), first.store, tmp_path)
    assert source is not None
    assert of_run is not None
    assert source.revision == of_run.revision
    push_adapter(first.store, source)
    pull_adapter(first.store, source, tmp_path / "back")
    assert (tmp_path / "back/adapter_model.safetensors").read_bytes() == first.read(ADAPTER)
    other = source.model_copy(update={"revision": "0" * 64})
    with pytest.raises(StorageError, match="another adapter than the one of adapter"):
        pull_adapter(first.store, other, tmp_path / "other")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param(
            {"init_adapter": "none-0123456789ab"}, "has no adapter in", id="run-without-adapter"
        ),
        pytest.param({"init_adapter": "nowhere"}, "is no run, and no folder", id="no-folder"),
        pytest.param(
            {"init_adapter": FIRST, "lora_r": 8}, "Set model.lora_r=4.", id="another-rank"
        ),
        pytest.param(
            {"init_adapter": FIRST, "modules_to_save": ["lm_head"]},
            r"Set model.modules_to_save=\[\].",
            id="another-head",
        ),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_when_the_run_is_made(
    first: TinyRun, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    model = SHAPE.model_copy(update=settings)
    with pytest.raises(ConfigError, match=message):
        find_adapter(model, first.store, tmp_path)


def _after(first: TinyRun, root: Path) -> TinyRun:
    shutil.copytree(first.store.url, root / "store")
    source = find_adapter(SHAPE.model_copy(update={"init_adapter": FIRST}), first.store, root)
    return TinyRun(
        root,
        first.model,
        preferences("dpo"),
        train=pairs(24),
        held_out=pairs(4, first=24),
        init_adapter=source,
    ).write()
