"""The convert stage over a real store: what it publishes, and what it does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ftctl.contract.checksum import file_sha256
from ftctl.contract.evaluation import Evaluation
from ftctl.contract.lineage import Manifest
from ftctl.contract.runfile import ModelSource
from ftctl.contract.verification import Verification
from ftctl.errors import (
    ConfigError,
    FtctlError,
    RunFailedError,
    VerificationError,
)
from ftctl.storage.folder import FolderStore
from ftctl.storage.models import push_model
from ftctl_trainer.model.load import load_tokenizer
from ftctl_trainer.model.source import model_folder
from ftctl_trainer.stages.convert import run_convert
from tests.integration.export.conftest import Handoff
from tests.integration.export.convert_runs import (
    LIMITS,
    PUBLISHED,
    QTYPES,
    handed_over,
    is_published,
    published_files,
    stage_context,
)
from tests.integration.tiny_run import TinyRun


def test_what_was_published_is_a_base_that_another_machine_fetches_and_unpacks(
    finished: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = finished.root / "copy" / "tiny-Q4_1.gguf", FolderStore(tmp_path / "store")
    source = ModelSource(name="base", kind="gguf", path=str(file), revision=file_sha256(file))
    push_model(store, source)
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))

    fetched = model_folder(source.model_copy(update={"path": "/no/such/file"}), store)

    assert load_tokenizer(fetched, trust_remote_code=False).vocab_size
    assert list(fetched.glob("*.safetensors"))
    assert model_folder(source, store) == fetched


def test_everything_is_published(finished: TinyRun) -> None:
    files = published_files(finished)

    assert sorted(files) == PUBLISHED
    assert (finished.root / "copy" / "tiny-Q4_1.gguf").read_bytes() == files["tiny-Q4_1.gguf"]
    sums = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert sums == {
        name: hashlib.sha256(files[name]).hexdigest()
        for name in PUBLISHED
        if name not in ("SHA256SUMS", "_COMPLETE")
    }
    assert "<html" in finished.read("report.html").decode()


def test_the_modelfile_prompts_as_the_rows_did(finished: TinyRun) -> None:
    text = published_files(finished)["Modelfile"].decode()

    assert text.startswith('FROM ./tiny-F16.gguf\nTEMPLATE """{{ range .Messages }}')
    assert text.endswith('PARAMETER stop "<|im_end|>"\nSYSTEM """Answer with one action."""\n')


def test_the_proof_is_kept(finished: TinyRun) -> None:
    proof = Verification.model_validate_json(finished.read("verify.json"))

    assert proof.passed
    assert proof.adapter_shows.startswith("The adapter shows: ")
    assert [output.qtype for output in proof.outputs] == QTYPES
    assert {check.name for check in proof.checks} == {"tokens", "template"}


def test_each_file_answered_the_held_out_rows(finished: TinyRun) -> None:
    evaluation = Evaluation.model_validate_json(finished.read("eval.json"))

    assert {qtype: scores.rows for qtype, scores in evaluation.quantized.items()} == {
        "f16": 4,
        "q4_1": 4,
    }


def test_success_names_the_manifest_and_the_manifest_every_file(finished: TinyRun) -> None:
    body = finished.read("manifest.json")
    manifest = Manifest.model_validate_json(body)
    success = json.loads(finished.read("_SUCCESS"))

    assert success["manifest_sha256"] == hashlib.sha256(body).hexdigest()
    assert success["fence"] >= 1
    recorded = {file.name: file.sha256 for file in manifest.outputs}
    assert recorded == {
        name: hashlib.sha256(finished.read(name)).hexdigest()
        for name in (
            *(f"gguf/{name}" for name in PUBLISHED if name != "_COMPLETE"),
            "verify.json",
            "eval.json",
        )
    }
    assert "adapter/adapter_model.safetensors" in {file.name for file in manifest.inputs}
    assert manifest.versions["convert.xllamacpp"] != "unknown"


def _forget(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {n: np.zeros_like(v) if "lora_B" in n else v for n, v in weights.items()},
        adapter / "adapter_model.safetensors",
    )


def _negate(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights[next(name for name in weights if "lora_B" in name)] *= -1
    save_file(weights, adapter / "adapter_model.safetensors")


def _other_tokenizer(adapter: Path) -> None:
    file = adapter / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:20]
    file.write_text(json.dumps(tokenizer))


def _other_template(adapter: Path) -> None:
    (adapter / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")


@pytest.mark.parametrize(
    ("damage", "want"),
    [
        pytest.param(_forget, r"f16: mean_kl is .*adapter_shows", id="adapter-forgotten"),
        pytest.param(_negate, "f16: mean_kl is .*, the limit is 0.001", id="one-tensor-negated"),
        pytest.param(_other_tokenizer, "the model: tokens '.*' is .* in training", id="tokenizer"),
        pytest.param(_other_template, "the model: template training saw", id="chat-template"),
    ],
)
def test_a_damaged_export_publishes_nothing(
    damage: Any, want: str, handoff: Handoff, tmp_path: Path
) -> None:
    damaged = handoff.with_copy(tmp_path / "adapter")
    damage(damaged.adapter)
    tight = {**LIMITS, "mean_kl": 0.001, "p99_kl": 0.01}
    run = handed_over(
        tmp_path,
        damaged,
        model={"qtype": "f16"},
        quantize={"verify": {"thresholds": {"f16": tight}}},
    )

    with (
        stage_context(run, tmp_path / "work") as context,
        pytest.raises(VerificationError, match=want) as caught,
    ):
        run_convert(context)

    assert caught.value.exit_code == 8
    assert not Verification.model_validate_json(run.read("verify.json")).passed
    assert not is_published(run)


def _not_a_number(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights[next(name for name in weights if "lora_A" in name)][0, 0] = np.nan
    save_file(weights, adapter / "adapter_model.safetensors")


def test_a_diverged_adapter_is_refused_before_any_file_is_written(
    handoff: Handoff, tmp_path: Path
) -> None:
    damaged = handoff.with_copy(tmp_path / "adapter")
    _not_a_number(damaged.adapter)
    run = handed_over(tmp_path, damaged)

    with (
        stage_context(run, tmp_path / "work") as context,
        pytest.raises(RunFailedError, match=r"lora_A.weight of the adapter is not finite"),
    ):
        run_convert(context)
    assert not (tmp_path / "work" / "gguf").exists()


@pytest.mark.parametrize(
    ("sections", "error", "want"),
    [
        pytest.param(
            {"quantize": {"imatrix": True}},
            ConfigError,
            "quantize.imatrix: .* llama-imatrix, which is not there",
            id="imatrix",
        ),
        pytest.param(
            {"quantize": {"adapter_gguf": True}},
            ConfigError,
            r"quantize.adapter_gguf: .* convert_lora_to_gguf.py, which is not there",
            id="adapter",
        ),
        pytest.param(
            {"quantize": {"merge_base": "best"}, "model": {"use_8bit": True}},
            ConfigError,
            "merge_base=best: model.use_8bit trains on another base",
            id="merge-base",
        ),
        pytest.param({"model": {"qtype": "q6_k"}}, ConfigError, "no limits for q6_k", id="limits"),
        pytest.param(
            {"model": {"qtype": "iq2_xs"}}, ConfigError, "importance matrix", id="needs-imatrix"
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    sections: dict[str, dict[str, Any]],
    error: type[FtctlError],
    want: str,
    handoff: Handoff,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FTCTL_LLAMA_CPP_DIR", raising=False)
    run = handed_over(tmp_path, handoff, **sections)

    with stage_context(run, tmp_path / "work") as context, pytest.raises(error, match=want):
        run_convert(context)

    assert list((tmp_path / "work").iterdir()) == []
