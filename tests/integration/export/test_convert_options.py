"""What a run publishes besides: parts, the merged model, the adapter, pushes, importance."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from typer.testing import CliRunner

from ftctl.app import app
from ftctl.contract.lineage import Manifest
from ftctl.contract.verification import Verification
from ftctl.storage.markers import download_folder
from ftctl_trainer.export import weights as weights_module
from ftctl_trainer.stages.convert import run_convert
from tests.e2e.oci_registry import registry
from tests.integration.export.conftest import Handoff
from tests.integration.export.convert_runs import (
    LIMITS,
    handed_over,
    published_files,
    stage_context,
)
from tests.integration.tiny_run import TinyRun


def _merged_logits(folder: Path, adapter: Path | None = None) -> np.ndarray:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    with torch.no_grad():
        return np.asarray(model(torch.arange(3, 60)[None]).logits[0])


@pytest.fixture(scope="module")
def artifacts() -> Iterator[str]:
    """A registry."""
    with registry() as host:
        yield host


@pytest.fixture(scope="module")
def shared(handoff: Handoff, artifacts: str, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that publishes a GGUF in parts and the merged model in shards, and pushes: 5 s."""
    root = tmp_path_factory.mktemp("shared")
    run = handed_over(
        root,
        handoff,
        model={"qtype": "f16"},
        quantize={"save_merged": True, "split_gb": 100e-6},
        testing={"test": False},
        publish={"oci": f"http://{artifacts}/ml/tiny"},
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        stage_context(run, root / "work") as context,
    ):
        patch.setattr(weights_module, "SHARD_BYTES", 100_000)
        run_convert(context)
    return run


def test_every_part_of_a_split_file_is_published(shared: TinyRun) -> None:
    files = published_files(shared)
    parts = sorted(name for name in files if name.endswith(".gguf"))
    manifest = Manifest.model_validate_json(shared.read("manifest.json"))
    [output] = Verification.model_validate_json(shared.read("verify.json")).outputs

    count = len(parts)
    assert count > 1
    assert parts == [f"tiny-F16-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]
    assert output.passed
    assert output.files == parts
    sums = files["SHA256SUMS"].decode()
    assert all(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" in sums for name in parts)
    assert {f"gguf/{name}" for name in parts} <= {file.name for file in manifest.outputs}
    modelfile = files["Modelfile"].decode()
    assert f"#   llama-gguf-split --merge {parts[0]} tiny-F16.gguf\n" in modelfile
    assert "\nFROM ./tiny-F16.gguf\n" in modelfile
    assert all(name in modelfile and name in shared.read("report.html").decode() for name in parts)


def test_what_was_published_is_pushed(shared: TinyRun, artifacts: str) -> None:
    url = f"http://{artifacts}/v2/ml/tiny/manifests/{shared.layout.run_id}"
    with urllib.request.urlopen(url) as response:
        manifest = json.load(response)

    files = published_files(shared)
    pushed = {
        layer["annotations"]["org.opencontainers.image.title"]: layer["digest"]
        for layer in manifest["layers"]
    }
    assert set(pushed) == {*files, "README.md"} - {"_COMPLETE"}
    for name in set(pushed) - {"README.md"}:
        assert pushed[name] == f"sha256:{hashlib.sha256(files[name]).hexdigest()}"
    assert '"pushed"' in shared.read("events.jsonl").decode()


def test_the_merged_model_is_published_for_others(
    shared: TinyRun, handoff: Handoff, tmp_path: Path
) -> None:
    marker = download_folder(shared.store, shared.layout.merged, tmp_path)
    names = [file.name for file in marker.files]
    assert "model-00002-of-00005.safetensors" in names
    assert {"config.json", "tokenizer.json", "model.safetensors.index.json"} <= set(names)
    assert list((shared.root / "work" / "merged").iterdir()) == []
    np.testing.assert_allclose(
        _merged_logits(tmp_path),
        _merged_logits(handoff.base, handoff.adapter),
        rtol=1e-4,
        atol=1e-5,
    )
    manifest = Manifest.model_validate_json(shared.read("manifest.json"))
    assert {f"merged/{name}" for name in names} <= {file.name for file in manifest.outputs}


@pytest.mark.parametrize("what", ["gguf", "merged", "all"])
def test_a_download_fetches_every_part_and_shard(
    what: str, shared: TinyRun, tmp_path: Path
) -> None:
    command = ["download", shared.layout.run_id, "--what", what, "-o", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, f"storage.url={shared.store.url}"])

    assert done.exit_code == 0, done.stderr
    found = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*.*")}
    gguf_files = {name for name in published_files(shared) if name.endswith(".gguf")}
    shards = {f"merged/model-{n:05d}-of-00005.safetensors" for n in range(1, 6)}
    wanted = {"gguf": gguf_files, "merged": shards, "all": gguf_files | shards}[what]
    assert wanted == {name for name in found if name.endswith((".gguf", ".safetensors"))} - {
        "adapter/adapter_model.safetensors"
    }
    assert ("merged/config.json" in found) == (what != "gguf")


@pytest.mark.usefixtures("tools")
def test_the_adapter_alone_is_published_and_proven(handoff: Handoff, tmp_path: Path) -> None:
    limits = dict.fromkeys(("f16", "q4_1"), LIMITS)
    run = handed_over(
        tmp_path,
        handoff,
        model={"qtype": "q4_1"},
        quantize={"adapter_gguf": True, "verify": {"thresholds": limits}},
        testing={"test": False},
    )

    with stage_context(run, tmp_path / "work") as context:
        run_convert(context)

    files = published_files(run)
    proof = Verification.model_validate_json(run.read("verify.json"))
    assert {name for name in files if name.endswith(".gguf")} == {
        "tiny-Q4_1.gguf", "tiny-adapter-F16.gguf"
    }  # fmt: skip
    assert "tiny-adapter-F16.gguf" in files["SHA256SUMS"].decode()
    assert [(output.qtype, output.passed) for output in proof.outputs] == [
        ("q4_1", True), ("adapter", True)
    ]  # fmt: skip
    assert proof.outputs[1].mean_kl < 1e-3


@pytest.mark.usefixtures("tools")
def test_columns_are_weighed_by_the_training_rows(handoff: Handoff, tmp_path: Path) -> None:
    run = handed_over(tmp_path, handoff, quantize={"imatrix": True}, testing={"test": False})

    with stage_context(run, tmp_path / "work") as context:
        run_convert(context)

    file = tmp_path / "published.gguf"
    file.write_bytes(published_files(run)["tiny-Q4_1.gguf"])
    keys = gguf.GGUFReader(file).fields
    assert keys["quantize.imatrix.dataset"].contents() == "training-rows.txt"
    assert keys["quantize.imatrix.entries_count"].contents() == 14
    texts = (tmp_path / "work" / "scratch" / "full" / "training-rows.txt").read_text()
    assert texts.startswith("<|im_start|>system\nAnswer with one action.<|im_end|>\n")
