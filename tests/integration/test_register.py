"""A run in the store is registered once, and continued by whoever has the same inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftctl.contract.lineage import DatasetRecord
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.spec import Config
from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.runs import read_run, register

RUN = RunFile(
    run_id="bot-0123456789ab",
    content_hash="0" * 64,
    model=ModelSource(name="org/model", kind="hub", revision="c0ffee"),
    data=DatasetRecord(digest="d" * 64, splits={}, rows={}),
    template="{{ user_input }}",
    config=Config(),
)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_the_time_a_run_was_first_seen_is_kept_and_newer_operational_settings_win(
    store: FolderStore,
) -> None:
    first = register(store, RUN)
    assert first.created is not None
    elsewhere = Config.model_validate({"paths": {"llama_cpp_dir": "/elsewhere"}})
    again = register(store, RUN.model_copy(update={"config": elsewhere}))
    assert again == RUN.model_copy(update={"config": elsewhere, "created": first.created})
    assert read_run(store, RUN.run_id) == again


def test_another_run_of_the_same_twelve_digits_is_refused_and_changes_nothing(
    store: FolderStore,
) -> None:
    first = register(store, RUN)
    with pytest.raises(StorageError, match="another run of this id has hash 0000"):
        register(store, RUN.model_copy(update={"content_hash": "1" * 64}))
    assert read_run(store, RUN.run_id) == first
