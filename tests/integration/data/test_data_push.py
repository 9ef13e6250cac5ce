"""A data set in the store: uploaded once, found by its digest, checked when it is read."""

import json
from pathlib import Path

import pytest

from ftctl.contract.layout import DatasetLayout
from ftctl.contract.spec import Config
from ftctl.data.dataset import Dataset, load_dataset
from ftctl.data.digest import pull_record, pull_split, push_dataset
from ftctl.data.example import Example, Message
from ftctl.errors import ConfigError, DataError, StorageError
from ftctl.storage.base import Store


def row(row_id: str) -> Example:
    turns = [Message(role="user", content="привет"), Message(role="assistant", content="a")]
    return Example(id=row_id, messages=turns)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(train=[row("1"), row("2")], eval=[row("3")], test=[row("4")])


def load(store: Store | None, train: str, **dataset: object) -> Dataset:
    config = Config.model_validate({"dataset": {"train": train, **dataset}})
    return load_dataset(config, base_dir=Path("/nowhere"), store=store)


def test_a_pushed_data_set_is_pulled_as_it_was(store: Store, dataset: Dataset) -> None:
    record = push_dataset(store, dataset)
    assert record == dataset.record()
    assert pull_record(store, record.digest) == record
    assert pull_split(store, record.digest, "train") == dataset.train
    keys = [info.key.removeprefix(f"datasets/{record.digest}/") for info in store.list("datasets/")]
    assert keys == ["digest.json", "eval.jsonl", "test.jsonl", "train.jsonl"]


def test_a_second_push_writes_nothing(store: Store, dataset: Dataset) -> None:
    push_dataset(store, dataset)
    before = {info.key: info.modified for info in store.list("")}
    push_dataset(store, dataset)
    assert {info.key: info.modified for info in store.list("")} == before


def test_a_push_that_was_cut_off_is_done_again(store: Store, dataset: Dataset) -> None:
    record = push_dataset(store, dataset)
    store.delete(DatasetLayout(record.digest).record)
    store.write(DatasetLayout(record.digest).split("train"), b"half")
    push_dataset(store, dataset)
    assert pull_split(store, record.digest, "train") == dataset.train


def test_a_damaged_split_is_refused(store: Store, dataset: Dataset) -> None:
    record = push_dataset(store, dataset)
    store.write(DatasetLayout(record.digest).split("train"), b"other")
    with pytest.raises(StorageError, match=f"{record.digest}/train.jsonl: damaged: sha256 is"):
        pull_split(store, record.digest, "train")


def test_what_was_never_pushed_is_named(store: Store, dataset: Dataset) -> None:
    with pytest.raises(DataError, match=f"there is no data set {'0' * 64}"):
        pull_split(store, "0" * 64, "train")
    record = push_dataset(store, Dataset(train=[row("1")]))
    with pytest.raises(DataError, match="the data set has no split 'eval'; it has train"):
        pull_split(store, record.digest, "eval")


def test_a_digest_brings_all_splits_and_is_the_digest_of_what_it_brings(
    store: Store, dataset: Dataset
) -> None:
    record = push_dataset(store, dataset)
    loaded = load(store, f"sha256:{record.digest}", eval_fraction=0.5)
    assert loaded.splits == dataset.splits
    assert loaded.record().digest == record.digest
    assert loaded.sources == [f"sha256:{record.digest}"]


def test_a_digest_without_eval_rows_is_split_like_files(store: Store) -> None:
    record = push_dataset(store, Dataset(train=[row("1"), row("2")]))
    loaded = load(store, f"sha256:{record.digest}", eval_fraction=0.5)
    assert (len(loaded.train), len(loaded.eval)) == (1, 1)


def test_a_digest_needs_its_form_and_a_store(store: Store) -> None:
    with pytest.raises(ConfigError, match="'sha256:12ab' is no digest"):
        load(store, "sha256:12ab")
    with pytest.raises(ConfigError, match="needs a store"):
        load(None, f"sha256:{'0' * 64}")


def test_the_stored_record_is_plain_json(store: Store, dataset: Dataset) -> None:
    record = push_dataset(store, dataset)
    stored = json.loads(store.read(DatasetLayout(record.digest).record))
    assert stored == record.model_dump()
