"""What a store holds was changed by hand: the message says what to do, and no bug is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftctl.contract.layout import RunLayout
from ftctl.contract.operational import StorageConfig
from ftctl.contract.status import Metrics
from ftctl.errors import ConfigError, StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.markers import download_folder, upload_folder, write_marker
from ftctl.storage.open import open_store
from ftctl_trainer.evaluation_file import stored_evaluation
from ftctl_trainer.journal import Journal

KEYS = RunLayout("tiny-0123456789ab")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with a complete adapter of one file."""
    made = FolderStore(tmp_path / "store")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"trained")
    write_marker(made, KEYS.adapter, upload_folder(made, tmp_path / "adapter", KEYS.adapter), 1)
    return made


def test_a_file_that_changed_after_its_marker_says_how_to_make_it_again(
    store: FolderStore, tmp_path: Path
) -> None:
    store.write(f"{KEYS.adapter}weights", b"changed")
    with pytest.raises(
        StorageError, match=r"weights: the content has sha256 .*\n.*Delete .*adapter/_COMPLETE and"
    ):
        download_folder(store, KEYS.adapter, tmp_path / "here")


def test_a_file_that_is_gone_after_its_marker_says_how_to_make_it_again(
    store: FolderStore, tmp_path: Path
) -> None:
    store.delete(f"{KEYS.adapter}weights")
    with pytest.raises(
        StorageError, match=r"no such object, though _COMPLETE covers it\n.*Delete .*_COMPLETE and"
    ):
        download_folder(store, KEYS.adapter, tmp_path / "here")


def test_a_damaged_evaluation_is_no_bug(store: FolderStore) -> None:
    store.write(KEYS.evaluation, b"garbage")
    with pytest.raises(StorageError, match=r"eval\.json: this is not the evaluation of a run"):
        stored_evaluation(store, KEYS)


def test_damaged_lines_of_a_journal_are_left_out(store: FolderStore) -> None:
    good = Metrics(step=1, epoch=0.5, loss=2.0)
    store.write(KEYS.metrics, good.model_dump_json().encode() + b'\n{"step": 2\n\xff\n')
    journal = Journal(store, KEYS.metrics, Metrics)
    assert journal.first(Metrics) == good
    journal.add(Metrics(step=2, epoch=1.0))
    journal.save()
    assert len(store.read(KEYS.metrics).splitlines()) == 2


@pytest.mark.parametrize("url", ["s3:/bucket/prefix", "s3:bucket", "S3:/x"])
def test_an_s3_address_with_a_missing_slash_makes_no_folder(url: str) -> None:
    with pytest.raises(ConfigError, match=r"is no S3 address\nWrite s3://bucket/prefix"):
        open_store(StorageConfig(url=url))
