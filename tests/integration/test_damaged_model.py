"""Damaged base models are refused, before a run is made of them where that is possible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ftctl.errors import ConfigError
from ftctl.runs.model import resolve_model
from ftctl.storage.folder import FolderStore
from ftctl_trainer.model.load import load_full
from tests.integration.gguf_files import gguf_bytes
from tests.integration.tiny_model import make_tiny_model

# Every model here is on this machine.
STORE = FolderStore(Path("no-store"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be loaded."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def _cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200_000])


def _no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def _no_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def test_a_whole_model_is_accepted(whole: Path) -> None:
    assert resolve_model(str(whole), None, STORE).kind == "folder"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda folder: (folder / "config.json").write_text('{"architectures": ['),
            r"config\.json: is no JSON: .*\n.*cut or damaged",
            id="config-cut",
        ),
        pytest.param(
            lambda folder: (folder / "config.json").write_text("{}"),
            r"config\.json: names no model_type",
            id="config-empty",
        ),
        pytest.param(
            _cut_weights,
            r"model\.safetensors: has 200,000 bytes, and its header describes 396,560",
            id="weights-cut",
        ),
        pytest.param(
            lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64),
            r"model\.safetensors: is no safetensors file, or cut within its header \(64 bytes\)",
            id="weights-without-header",
        ),
        pytest.param(
            lambda folder: (folder / "model.safetensors").write_bytes(
                (4).to_bytes(8, "little") + b"nope"
            ),
            r"model\.safetensors: its safetensors header cannot be read",
            id="weights-header-no-json",
        ),
        pytest.param(_no_tokenizer, r"the folder holds no tokenizer", id="no-tokenizer"),
        pytest.param(
            _no_template,
            r"tokenizer has no chat template\n.*chat_template\.jinja",
            id="no-chat-template",
        ),
    ],
)
def test_a_damaged_folder_is_refused(
    folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(ConfigError, match=message):
        resolve_model(str(folder), None, STORE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"is no GGUF file: it is empty", id="empty"),
        pytest.param(b"<html>", r"it begins with b'<htm', not b'GGUF'", id="a-web-page"),
        pytest.param(gguf_bytes()[:60], r"its GGUF header cannot be read", id="cut"),
        pytest.param(
            gguf_bytes(version=1), r"its GGUF header cannot be read", id="another-version"
        ),
        pytest.param(
            gguf_bytes(), r"has no chat template \(tokenizer\.chat_template\)", id="no-template"
        ),
    ],
)
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        resolve_model(str(path), None, STORE)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("tokenizer_config.json", id="in-the-settings"),
        pytest.param("chat_template.json", id="older-file"),
        pytest.param("additional_chat_templates/default.jinja", id="one-of-several"),
    ],
)
def test_a_chat_template_is_found_wherever_transformers_looks(folder: Path, place: str) -> None:
    text = (folder / "chat_template.jinja").read_text()
    _no_template(folder)
    file = folder / place
    file.parent.mkdir(exist_ok=True)
    settings = json.loads(file.read_text()) if file.exists() else {}
    body = text if place.endswith(".jinja") else json.dumps(settings | {"chat_template": text})
    file.write_text(body)
    assert resolve_model(str(folder), None, STORE).kind == "folder"


def test_weights_that_are_cut_fail_the_stage_as_configuration(folder: Path) -> None:
    """A hub's download is not looked at before the stage."""
    _cut_weights(folder)
    with pytest.raises(ConfigError, match=r"the model cannot be loaded: .*not fully covered"):
        load_full(folder, dtype="float32")


def test_weights_of_other_shapes_than_the_config_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 128}))
    with pytest.raises(ConfigError, match=r"do not have the shapes that config\.json describes"):
        load_full(folder, dtype="float32")
