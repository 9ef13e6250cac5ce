"""What could be trained and not be exported is refused before a run is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.runfile import ModelSource
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.runs.gguf_header import read_header
from ftctl.runs.modelcheck import check_export
from tests.integration.gguf_files import gguf_bytes


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """Settings that lead to llama.cpp's converter and quantizer."""
    for name in ("convert_hf_to_gguf.py", "quantizer"):
        (tmp_path / name).touch()
    return {"llama_cpp_dir": str(tmp_path), "quantized_path": "quantizer"}


def configured(qtype: str = "q4_1", paths: dict[str, str] | None = None) -> Config:
    nowhere = {"llama_cpp_dir": "/nonexistent"}
    return Config.model_validate({"model": {"qtype": qtype}, "paths": paths or nowhere})


def folder(path: Path, config: dict[str, Any]) -> ModelSource:
    (path / "config.json").write_text(json.dumps(config))
    return ModelSource(name="m", kind="folder", path=str(path), revision="0")


def gguf(path: Path, content: bytes) -> ModelSource:
    file = path / "m.gguf"
    file.write_bytes(content)
    return ModelSource(name="m", kind="gguf", path=str(file), revision="0")


def test_metadata_are_read_and_lists_passed_over(tmp_path: Path) -> None:
    source = gguf(tmp_path, gguf_bytes(template="{{ x }}"))
    assert read_header(Path(str(source.path))).values == {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": "{{ x }}",
    }


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "MistralForCausalLM"])
def test_the_llama_family_needs_no_tools(tmp_path: Path, name: str) -> None:
    check_export(configured(), folder(tmp_path, {"architectures": [name]}))
    check_export(configured(), gguf(tmp_path, gguf_bytes()))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        pytest.param(
            {"architectures": ["Qwen3ForCausalLM"]},
            "Qwen3ForCausalLM cannot be exported",
            id="other",
        ),
        pytest.param({}, "a model without an architecture cannot be exported", id="none"),
    ],
)
def test_another_architecture_is_refused_without_llama_cpp(
    tmp_path: Path, tools: dict[str, str], config: dict[str, Any], what: str
) -> None:
    source = folder(tmp_path, config)
    with pytest.raises(ConfigError, match=f"model.model_name: {what}.*\n.*paths.llama_cpp_dir"):
        check_export(configured(), source)
    check_export(configured(paths=tools), source)


def test_a_gguf_file_of_another_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gemma3 cannot be exported"):
        check_export(configured(), gguf(tmp_path, gguf_bytes(architecture="gemma3")))


def test_a_type_that_only_llama_quantize_makes_is_refused(tools: dict[str, str]) -> None:
    of_hub = ModelSource(name="org/m", kind="hub", revision="0" * 40)
    with pytest.raises(
        ConfigError, match=r"model\.qtype: quantization type iq3_m needs .*\n.*q8_0"
    ):
        check_export(configured("iq3_m"), of_hub)
    check_export(configured("iq3_m", tools), of_hub)


def test_a_model_of_the_hub_is_left_to_the_stage() -> None:
    check_export(configured(), ModelSource(name="org/m", kind="hub", revision="0" * 40))
