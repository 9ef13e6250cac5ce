"""Base models that travel through the store to a machine that does not have them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftctl.contract.checksum import file_sha256
from ftctl.contract.layout import ModelLayout
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError, StorageError
from ftctl.storage.base import Store
from ftctl.storage.models import has_model, model_bytes, pull_model, push_model
from ftctl.storage.open import open_store
from ftctl_trainer.model.source import model_folder
from tests.integration.s3_server import Proxy, S3Server

MIB = 2**20
FILES = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": b"w" * 5000}
OTHERS = {"README.md": b"words", "pytorch_model.bin": b"old", "._config.json": b"hidden"}
WAIT_S = 60
FETCH = """
import json, sys
from pathlib import Path
from ftctl.contract.operational import StorageConfig
from ftctl.contract.runfile import ModelSource
from ftctl.storage.open import open_store
from ftctl.storage.open import open_store
from ftctl_trainer.model.source import model_folder

config, source = (json.loads(text) for text in sys.argv[1:])
store = open_store(StorageConfig.model_validate(config))
print(model_folder(ModelSource.model_validate(source), store))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "laptop" / "model"
    folder.mkdir(parents=True)
    for name, data in {**FILES, **OTHERS}.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched models appear."""
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def s3_store(s3_config: StorageConfig) -> Store:
    """The test's store on the S3 server, without the proxy."""
    return open_store(s3_config)


def source_of(path: Path) -> ModelSource:
    kind = "folder" if path.is_dir() else "gguf"
    revision = folder_revision(path) if path.is_dir() else file_sha256(path)
    return ModelSource.model_validate(
        {"name": "m", "kind": kind, "path": str(path), "revision": revision}
    )


def elsewhere(source: ModelSource) -> ModelSource:
    """The same model, seen from a machine that does not have it."""
    return source.model_copy(update={"path": "/no/such/place"})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_folder_reaches_a_machine_that_does_not_have_it(
    store: Store, model: Path, cache: Path
) -> None:
    source = source_of(model)
    moved: list[int] = []
    root = f"models/{source.revision}/"

    assert not has_model(store, source)
    push_model(store, source, moved.append)
    assert has_model(store, source)

    assert {info.key for info in store.list("models/")} == {
        f"{root}{name}" for name in (*FILES, "_COMPLETE")
    }
    assert sum(moved) == model_bytes(source) == sum(map(len, FILES.values()))
    found = model_folder(elsewhere(source), store)
    assert (found, content(found)) == (cache / source.revision, FILES)
    assert visible(cache) == [source.revision]


def test_a_model_that_is_in_the_store_is_not_sent_again(store: Store, model: Path) -> None:
    push_model(store, source_of(model))
    moved: list[int] = []
    push_model(store, source_of(model), moved.append)
    assert moved == []


def test_a_model_that_is_in_the_cache_is_not_fetched_again(
    store: Store, model: Path, cache: Path
) -> None:
    source = elsewhere(source_of(model))
    (cache / source.revision).mkdir(parents=True)
    assert model_folder(source, store) == cache / source.revision


def test_a_model_that_is_here_is_used_where_it_is(store: Store, model: Path, cache: Path) -> None:
    push_model(store, source_of(model))
    assert model_folder(source_of(model), store) == model
    assert not cache.exists()


def test_another_model_at_the_same_path_is_not_taken_for_the_one_of_the_run(
    store: Store, model: Path, cache: Path
) -> None:
    source = source_of(model)
    push_model(store, source)
    (model / "model.safetensors").write_bytes(b"other")
    assert content(model_folder(source, store)) == FILES


def test_a_gguf_file_comes_out_as_it_went_in(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    path.write_bytes(b"GGUF" + os.urandom(5000))
    push_model(store, source_of(path))
    pull_model(store, source_of(path), tmp_path / "out")
    assert content(tmp_path / "out") == {"base.gguf": path.read_bytes()}


def test_a_fetched_gguf_file_that_cannot_be_unpacked_leaves_nothing_to_be_seen(
    store: Store, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "base.gguf"
    path.write_bytes(b"GGUF but not really")
    push_model(store, source_of(path))
    with pytest.raises(ConfigError, match="cannot be used as a base model"):
        model_folder(elsewhere(source_of(path)), store)
    assert visible(cache) == []


def test_a_hubs_model_is_left_to_the_hub(store: Store) -> None:
    source = ModelSource(name="org/model", kind="hub", revision="0" * 40)
    assert has_model(store, source)
    push_model(store, source)
    assert (list(store.list()), model_bytes(source)) == ([], 0)


def test_a_model_that_nobody_has_is_named_with_both_places(
    store: Store, model: Path, cache: Path
) -> None:
    with pytest.raises(ConfigError, match="there is no model at '/no/such/place'") as caught:
        model_folder(elsewhere(source_of(model)), store)
    assert store.url in caught.value.what


def test_a_model_that_changed_since_the_run_was_made_is_not_stored_under_its_name(
    store: Store, model: Path
) -> None:
    source = source_of(model)
    (model / "config.json").write_bytes(b'{"other": 1}')
    with pytest.raises(ConfigError, match=f"the run was made for {source.revision}"):
        push_model(store, source)
    assert not has_model(store, source)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        pytest.param(
            "config.json", b"[]", "has sha256 .* though _COMPLETE covers it", id="changed"
        ),
        pytest.param("config.json", None, "though _COMPLETE covers it", id="deleted"),
    ],
)
def test_a_damaged_copy_is_refused_and_leaves_nothing_to_be_seen(
    store: Store, model: Path, cache: Path, key: str, change: bytes | None, message: str
) -> None:
    source = source_of(model)
    push_model(store, source)
    root = ModelLayout(source.revision).root
    store.delete(root + key) if change is None else store.write(root + key, change)
    with pytest.raises(StorageError, match=message):
        model_folder(elsewhere(source), store)
    assert visible(cache) == []


def test_another_model_under_the_revision_is_refused(
    store: Store, model: Path, cache: Path
) -> None:
    source = source_of(model)
    push_model(store, source)
    wrong = source.model_copy(update={"revision": "f" * 64})
    for info in list(store.list(ModelLayout(source.revision).root)):
        name = info.key.rpartition("/")[2]
        store.write(ModelLayout(wrong.revision).root + name, store.read(info.key))
    with pytest.raises(StorageError, match=f"another model: its sha256 is {source.revision}"):
        model_folder(elsewhere(wrong), store)
    assert visible(cache) == []


def test_a_fetch_killed_half_way_shows_nothing_and_the_next_one_is_whole(
    s3_server: S3Server, s3_config: StorageConfig, tmp_path: Path, cache: Path, s3_store: Store
) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(os.urandom(48 * MIB))
    source = source_of(folder)
    push_model(s3_store, source)
    stuck, go_on = threading.Event(), threading.Event()
    moved = [0]

    def cut(connection: int, answers: bool, so_far: int) -> bool:
        moved[0] += answers
        if answers and moved[0] > 20 * MIB // 65536:
            stuck.set()
            go_on.wait(WAIT_S)
            return True
        return False

    with Proxy(s3_server.port, cut) as proxy:
        config = s3_config.model_copy(update={"endpoint_url": proxy.endpoint_url})
        arguments = [config.model_dump_json(), elsewhere(source).model_dump_json()]
        process = subprocess.Popen([sys.executable, "-c", FETCH, *arguments])
        assert stuck.wait(WAIT_S)
        process.kill()
        process.wait()
        go_on.set()

    assert visible(cache) == []
    assert [path.name for path in cache.glob("*.partial")] == [f".{source.revision}.partial"]
    found = model_folder(elsewhere(source), s3_store)
    assert content(found) == content(folder)
    assert visible(cache) == [source.revision]
