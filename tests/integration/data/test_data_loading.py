"""Data sets from files on disk, as a configuration names them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.contract.spec import Config
from ftctl.data.dataset import Dataset, FileSummary, load_dataset
from ftctl.data.problems import BadRowsError
from ftctl.errors import ConfigError, DataError
from ftctl.storage.folder import FolderStore
from ftctl.storage.open import open_store

PROJECT = Path(__file__).parents[3]


def rows(*numbers: int) -> list[dict[str, str]]:
    return [{"instruction": f"q{number}", "output": f"a{number}"} for number in numbers]


def put(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def load(folder: Path, train: str | list[str] | None = None, **sections: Any) -> Dataset:
    dataset = {"train": train, **sections.pop("dataset", {})}
    return load_dataset(Config.model_validate({"dataset": dataset, **sections}), base_dir=folder)


def ids(dataset: Dataset) -> dict[str, list[str]]:
    return {name: [row.id for row in found] for name, found in dataset.splits.items()}


def test_files_are_looked_for_here_then_in_the_data_folder(tmp_path: Path) -> None:
    put(tmp_path, "here.json", rows(1))
    put(tmp_path, "data/there.json", rows(2))
    outside = put(tmp_path, "elsewhere/out.json", rows(3))
    base = tmp_path
    dataset = load(base, ["here.json", "there.json", str(outside)])
    assert ids(dataset) == {"train": ["here-1", "there-1", "out-1"]}
    assert dataset.sources == ["here.json", "data/there.json", "elsewhere/out.json"]


def test_globs_are_read_in_order_of_name_and_a_file_once(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "sub/c.json"):
        put(tmp_path, name, rows(1))
    assert load(tmp_path, ["*.json"]).sources == ["a.json", "b.json"]
    assert load(tmp_path, ["**/*.json"]).sources == ["a.json", "b.json", "sub/c.json"]


def test_every_split_and_its_files(tmp_path: Path) -> None:
    put(tmp_path, "t.json", rows(1, 2))
    put(tmp_path, "e.json", rows(3))
    put(tmp_path, "h.json", rows(4))
    dataset = load(
        tmp_path,
        "t.json",
        dataset={"eval": "e.json", "eval_fraction": 0.5},
        testing={"test_dataset": "h.json"},
    )
    assert ids(dataset) == {"train": ["t-1", "t-2"], "eval": ["e-1"], "test": ["h-1"]}
    assert dataset.files == [
        FileSummary("train", "t.json", "instruction", 2, 0),
        FileSummary("eval", "e.json", "instruction", 1, 0),
        FileSummary("test", "h.json", "instruction", 1, 0),
    ]


def test_the_limit_takes_the_first_rows_before_a_share_is_held_out(tmp_path: Path) -> None:
    put(tmp_path, "t.json", rows(*range(100)))
    dataset = load(tmp_path, "t.json", dataset={"limit": 10, "eval_fraction": 0.2})
    assert sorted(ids(dataset)["train"] + ids(dataset)["eval"]) == sorted(
        f"t-{number}" for number in range(1, 11)
    )
    assert len(dataset.eval) == 2


def test_always_allowed_actions_are_added_where_they_are_missing(tmp_path: Path) -> None:
    row = {"prompt": {"UserInput": "u"}, "answer": {"Content": {"Action": "Talk"}}}
    listed = {**row, "prompt": {"UserInput": "u", "AvailableActions": ["Talk", "Open"]}}
    put(tmp_path, "t.json", [row, listed])
    dataset = load(tmp_path, "t.json", dataset={"always_allowed_actions": ["Talk", "Wait"]})
    assert [row.prompt.actions for row in dataset.train if row.prompt] == [
        ["Talk", "Wait"],
        ["Talk", "Open", "Wait"],
    ]


def test_ids_that_two_files_use_get_the_files_name(tmp_path: Path) -> None:
    for folder in ("x", "y", "z"):
        put(tmp_path, f"{folder}/t.json", {"examples": {"k": rows(1)[0]}})
    assert ids(load(tmp_path, "*/t.json")) == {"train": ["k", "t/k", "t/k~2"]}


@pytest.mark.parametrize(
    ("train", "what", "hint"),
    [
        pytest.param(
            "trian.json", "there is no file 'trian.json'", "Did you mean {0}/train.json?", id="typo"
        ),
        pytest.param(
            "no/such/file.csv",
            "there is no file 'no/such/file.csv'",
            "Looked in: {0}/no/such, {0}/data/no/such.",
            id="no-folder",
        ),
        pytest.param(
            "*.parquet", "no file matches '*.parquet'", "Looked in: {0}, {0}/data.", id="glob"
        ),
        pytest.param("data", "data is a folder", "Name its files: 'data/*.jsonl'.", id="folder"),
    ],
)
def test_a_file_that_is_missing_is_named_with_the_nearest(
    tmp_path: Path, train: str, what: str, hint: str
) -> None:
    put(tmp_path, "train.json", rows(1))
    put(tmp_path, "data/other.json", rows(1))
    with pytest.raises(DataError) as caught:
        load(tmp_path, train)
    assert caught.value.where == "dataset.train"
    assert caught.value.what == what
    assert hint.format(tmp_path) in str(caught.value.hint)


def test_all_files_that_cannot_be_read_are_named_at_once(tmp_path: Path) -> None:
    put(tmp_path, "good.json", rows(1))
    (tmp_path / "empty.json").touch()
    (tmp_path / "cut.json").write_text('[{"a": 1},')
    with pytest.raises(DataError, match="3 data files cannot be read") as caught:
        load(tmp_path, ["good.json", "cut.json", "empty.json", "gone.json"])
    lines = [line.strip() for line in caught.value.what.splitlines()]
    assert "cut.json:1: the JSON stops in the middle, at column 11: the file seems cut" in lines
    assert "empty.json: the file is empty" in lines
    assert "dataset.train: there is no file 'gone.json'" in lines


def test_bad_rows_of_all_files_are_shown_together_and_left_out_when_allowed(
    tmp_path: Path,
) -> None:
    put(tmp_path, "t.json", [*rows(1), {"instruction": "q"}])
    put(tmp_path, "e.json", [{"output": "a", "instruction": ""}, *rows(1)])
    with pytest.raises(BadRowsError) as caught:
        load(tmp_path, "t.json", dataset={"eval": "e.json", "max_bad": 1})
    assert [str(problem) for problem in caught.value.problems] == [
        "t.json:1: t-2: no response or output",
        "e.json:1: e-1: instruction is empty",
    ]
    dataset = load(tmp_path, "t.json", dataset={"eval": "e.json", "max_bad": 2})
    assert ids(dataset) == {"train": ["t-1"], "eval": ["e-2"]}
    assert dataset.problems == caught.value.problems


def test_a_split_of_bad_rows_alone_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "t.json", [{"instruction": "q"}])
    with pytest.raises(DataError, match="the train split is empty: all 1 rows are bad"):
        load(tmp_path, "t.json", dataset={"max_bad": 5})


def test_a_file_that_may_not_be_read_is_a_data_error(tmp_path: Path) -> None:
    secret = put(tmp_path, "t.json", rows(1))
    secret.chmod(0)
    if os.access(secret, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(DataError, match=r"t\.json: cannot be read: Permission denied"):
        load(tmp_path, "t.json")


def test_a_json_file_with_one_row_of_100_mb_is_refused_with_its_size(tmp_path: Path) -> None:
    with (tmp_path / "t.json").open("wb") as file:
        file.write(b'[\n{"instruction": "q", "output": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n]')
    with pytest.raises(BadRowsError, match=r"t\.json:2: the row has 100,000,035 bytes; the limit"):
        load(tmp_path, "t.json")


def test_data_in_an_object_store_is_read_through_the_store_that_is_opened(tmp_path: Path) -> None:
    put(tmp_path, "bucket/sets/a.json", rows(1))
    put(tmp_path, "bucket/sets/b.json", rows(2))
    opened = []

    def open_bucket(config: StorageConfig) -> FolderStore:
        opened.append((config.url, config.endpoint_url))
        return FolderStore(tmp_path / str(config.url).removeprefix("s3://"))

    def load_url(url: str) -> Dataset:
        config = Config.model_validate(
            {"dataset": {"train": url}, "storage": {"endpoint_url": "http://localhost:1"}}
        )
        return load_dataset(config, base_dir=tmp_path, open_store=open_bucket)

    assert load_url("s3://bucket/sets/*.json").sources == [
        "s3://bucket/sets/a.json",
        "s3://bucket/sets/b.json",
    ]
    assert ids(load_url("s3://bucket/*/b.json")) == {"train": ["b-1"]}
    assert opened == [
        ("s3://bucket/sets", "http://localhost:1"),
        ("s3://bucket", "http://localhost:1"),
    ]
    with pytest.raises(DataError, match=r"no object matches 's3://bucket/sets/c\.json'"):
        load_url("s3://bucket/sets/c.json")
    with pytest.raises(ConfigError, match="'s3://bucket/' names no object"):
        load_url("s3://bucket/")


def test_data_on_an_s3_server_is_read(s3_config: StorageConfig, tmp_path: Path) -> None:
    server = open_store(s3_config)
    for number in (1, 2):
        server.write(f"sets/{number}.json", json.dumps(rows(number)).encode())
    config = Config.model_validate(
        {
            "dataset": {"train": f"{s3_config.url}/sets/*.json"},
            "storage": {"url": str(tmp_path), "endpoint_url": s3_config.endpoint_url},
        }
    )
    dataset = load_dataset(config, base_dir=tmp_path, open_store=open_store)
    assert ids(dataset) == {"train": ["1-1", "2-1"]}


def test_without_an_object_store_its_urls_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no object store is open"):
        load(tmp_path, "s3://bucket/a.json")


def test_the_users_own_files_are_read_as_they_are() -> None:
    folder = Path(os.environ.get("FTCTL_USER_DATA", PROJECT.parent / "shared/data/seed"))
    if not folder.is_dir():
        pytest.skip("no users' files here; FTCTL_USER_DATA names their folder")
    dataset = load(
        folder,
        ["dataset_ru.json", "daedalus_eng.json", "test_eng.json"],
        testing={"test_dataset": "test_ru.json"},
    )
    assert {name: len(found) for name, found in dataset.splits.items()} == {
        "train": 174,
        "test": 34,
    }
    assert dataset.problems == []
