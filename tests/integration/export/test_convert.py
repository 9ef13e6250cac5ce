"""The convert stage over a real store: what it publishes, what it refuses, how it goes on."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from ftctl.app import app
from ftctl.contract.checksum import file_sha256
from ftctl.contract.evaluation import Evaluation
from ftctl.contract.lineage import Manifest
from ftctl.contract.runfile import ModelSource, RunFile
from ftctl.contract.verification import Verification
from ftctl.errors import (
    ConfigError,
    FtctlError,
    RunFailedError,
    StoppedError,
    StorageError,
    VerificationError,
)
from ftctl.storage.folder import FolderStore
from ftctl.storage.lease import RunLease
from ftctl.storage.markers import download_folder, upload_folder, write_marker
from ftctl.storage.models import push_model
from ftctl_trainer.context import StageContext
from ftctl_trainer.export import weights as weights_module
from ftctl_trainer.model.load import load_tokenizer
from ftctl_trainer.model.source import model_folder
from ftctl_trainer.reporter import StoreReporter
from ftctl_trainer.runner import load_run
from ftctl_trainer.stages.convert import run_convert
from tests.e2e.oci_registry import registry
from tests.integration.export.conftest import Handoff
from tests.integration.tiny_run import TinyRun

LIMITS = {"mean_kl": 0.15, "p99_kl": 1.0, "top1_agreement": 0.5, "perplexity_ratio": 1.25}
QTYPES = ["f16", "q4_1"]
PUBLISHED = [
    "Modelfile", "Modelfile.Q4_1", "SHA256SUMS", "_COMPLETE", "tiny-F16.gguf", "tiny-Q4_1.gguf",
]  # fmt: skip


def _run(root: Path, handoff: Handoff, **sections: dict[str, Any]) -> TinyRun:
    settings: dict[str, dict[str, Any]] = {
        "model": {"qtype": QTYPES},
        "quantize": {"verify": {"thresholds": dict.fromkeys(QTYPES, LIMITS)}},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    run = TinyRun(root, handoff.base, settings).write()
    for name, folder in (("adapter", handoff.adapter), ("reference", handoff.reference_folder)):
        prefix = f"{run.layout.root}{name}/"
        write_marker(run.store, prefix, upload_folder(run.store, folder, prefix), fence=1)
    run.store.write(run.layout.config, run.file.read_bytes())
    return run


@contextmanager
def _context(run: TinyRun, workdir: Path) -> Iterator[StageContext]:
    workdir.mkdir()
    file: RunFile = load_run(run.file)
    with (
        RunLease(run.store, run.layout.lease, "test") as lease,
        StoreReporter(run.store, file, "convert", holder="test", fence=lease.fence) as reporter,
    ):
        yield StageContext(file, run.store, reporter, lease, threading.Event(), workdir, threads=2)


def _gguf(run: TinyRun) -> dict[str, bytes]:
    """Published files by name."""
    return {
        item.key.removeprefix(run.layout.gguf): run.store.read(item.key)
        for item in run.store.list(run.layout.gguf)
    }


def _is_published(run: TinyRun) -> bool:
    done = (run.layout.success, run.layout.manifest, run.layout.report)
    return bool(_gguf(run)) or any(run.store.stat(key) for key in done)


@pytest.fixture(scope="module")
def finished(handoff: Handoff, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run converted by the real process, with answers and a copy of the files: 10 s."""
    root = tmp_path_factory.mktemp("finished")
    run = _run(root, handoff, paths={"final_weights_path": str(root / "copy")})
    code, lines = run.finish(run.start("convert"))
    assert code == 0, lines
    return run


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
    files = _gguf(finished)

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
    text = _gguf(finished)["Modelfile"].decode()

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
    run = _run(
        tmp_path,
        damaged,
        model={"qtype": "f16"},
        quantize={"verify": {"thresholds": {"f16": tight}}},
    )

    with (
        _context(run, tmp_path / "work") as context,
        pytest.raises(VerificationError, match=want) as caught,
    ):
        run_convert(context)

    assert caught.value.exit_code == 8
    assert not Verification.model_validate_json(run.read("verify.json")).passed
    assert not _is_published(run)


class _StopAt(StoreReporter):
    """Sets the stop flag once a phase is reached, as SIGTERM does at any moment."""

    stop: threading.Event
    at: str

    def phase(self, text: str) -> None:
        """Report, then stop."""
        super().phase(text)
        if text.startswith(self.at):
            self.stop.set()


@pytest.mark.parametrize("at", ["merging", "verifying q4_1", "answering with q4_1"])
def test_a_stop_publishes_nothing_and_a_second_try_ends_the_same(
    at: str, handoff: Handoff, finished: TinyRun, tmp_path: Path
) -> None:
    run = _run(tmp_path, handoff)
    with _context(run, tmp_path / "first") as context:
        file = context.run
        reporter = _StopAt(run.store, file, "convert")
        reporter.stop, reporter.at = context.stop, at
        with reporter, pytest.raises(StoppedError) as caught:
            run_convert(replace(context, reporter=reporter))
    assert caught.value.exit_code == 75
    assert not _is_published(run)

    with _context(run, tmp_path / "second") as context:
        run_convert(context)

    again, before = _gguf(run), _gguf(finished)
    assert {name: again[name] for name in PUBLISHED if name != "_COMPLETE"} == {
        name: before[name] for name in PUBLISHED if name != "_COMPLETE"
    }


def test_a_second_pass_over_a_finished_run_changes_no_file(
    handoff: Handoff, tmp_path: Path
) -> None:
    run = _run(tmp_path, handoff, testing={"test": False})
    with _context(run, tmp_path / "first") as context:
        run_convert(context)
    first = _gguf(run)
    run.store.delete(run.layout.success)

    with _context(run, tmp_path / "second") as context:
        run_convert(context)

    second = _gguf(run)
    assert {n: b for n, b in second.items() if n != "_COMPLETE"} == {
        n: b for n, b in first.items() if n != "_COMPLETE"
    }
    assert run.store.stat(run.layout.success) is not None


def _away(run: TinyRun) -> None:
    """Put the run's base into the store, and say that it lies on another machine."""
    file = load_run(run.file)
    push_model(run.store, file.model)
    elsewhere = file.model.model_copy(update={"path": "/laptop/models/tiny"})
    run.file.write_text(
        yaml.safe_dump(file.model_copy(update={"model": elsewhere}).model_dump(mode="json"))
    )


def _kill_when(run: TinyRun, phase: str) -> None:
    """Start the convert stage as a pod does, and kill it once it says that it is there."""
    process = run.start("convert")
    while process.poll() is None:
        said = run.store.read(run.layout.status) if run.store.stat(run.layout.status) else b""
        if phase in said.decode():
            process.kill()
    assert run.finish(process)[0] == -signal.SIGKILL


def test_a_base_in_the_store_is_read_from_there_and_never_copied(
    handoff: Handoff, finished: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it merges, and started again."""
    for name in ("FTCTL_CACHE", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    run = _run(tmp_path, handoff, testing={"test": False})
    _away(run)

    _kill_when(run, "merging")
    assert not _is_published(run)
    left = [path.name for path in (tmp_path / "TMPDIR").rglob("*.*")]
    code, lines = run.finish(run.start("convert"))

    assert code == 0, lines
    again, before = _gguf(run), _gguf(finished)
    assert {name: again[name] for name in PUBLISHED if name != "_COMPLETE"} == {
        name: before[name] for name in PUBLISHED if name != "_COMPLETE"
    }
    assert {"config.json", "_base.json", "adapter_model.safetensors"} <= set(left)
    assert "model.safetensors" not in left
    assert list((tmp_path / "FTCTL_CACHE" / "models").iterdir()) == []


def test_a_base_that_was_changed_in_the_store_publishes_nothing(
    handoff: Handoff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCTL_CACHE", str(tmp_path / "cache"))
    run = _run(tmp_path, handoff, model={"qtype": "f16"})
    _away(run)
    key = f"models/{load_run(run.file).model.revision}/model.safetensors"
    body = bytearray(run.store.read(key))
    body[-1000] ^= 1
    run.store.write(key, bytes(body))

    with (
        _context(run, tmp_path / "work") as context,
        pytest.raises(StorageError, match="the content has sha256") as caught,
    ):
        run_convert(context)

    assert caught.value.where == f"{run.store.url}/{key}"
    assert not _is_published(run)


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
    run = _run(
        root,
        handoff,
        model={"qtype": "f16"},
        quantize={"save_merged": True, "split_gb": 100e-6},
        testing={"test": False},
        publish={"oci": f"http://{artifacts}/ml/tiny"},
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        _context(run, root / "work") as context,
    ):
        patch.setattr(weights_module, "SHARD_BYTES", 100_000)
        run_convert(context)
    return run


def test_every_part_of_a_split_file_is_published(shared: TinyRun) -> None:
    files = _gguf(shared)
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

    files = _gguf(shared)
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
    gguf_files = {name for name in _gguf(shared) if name.endswith(".gguf")}
    shards = {f"merged/model-{n:05d}-of-00005.safetensors" for n in range(1, 6)}
    wanted = {"gguf": gguf_files, "merged": shards, "all": gguf_files | shards}[what]
    assert wanted == {name for name in found if name.endswith((".gguf", ".safetensors"))} - {
        "adapter/adapter_model.safetensors"
    }
    assert ("merged/config.json" in found) == (what != "gguf")


def _not_a_number(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights[next(name for name in weights if "lora_A" in name)][0, 0] = np.nan
    save_file(weights, adapter / "adapter_model.safetensors")


def test_a_diverged_adapter_is_refused_before_any_file_is_written(
    handoff: Handoff, tmp_path: Path
) -> None:
    damaged = handoff.with_copy(tmp_path / "adapter")
    _not_a_number(damaged.adapter)
    run = _run(tmp_path, damaged)

    with (
        _context(run, tmp_path / "work") as context,
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
    run = _run(tmp_path, handoff, **sections)

    with _context(run, tmp_path / "work") as context, pytest.raises(error, match=want):
        run_convert(context)

    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.usefixtures("tools")
def test_the_adapter_alone_is_published_and_proven(handoff: Handoff, tmp_path: Path) -> None:
    limits = dict.fromkeys(("f16", "q4_1"), LIMITS)
    run = _run(
        tmp_path,
        handoff,
        model={"qtype": "q4_1"},
        quantize={"adapter_gguf": True, "verify": {"thresholds": limits}},
        testing={"test": False},
    )

    with _context(run, tmp_path / "work") as context:
        run_convert(context)

    files = _gguf(run)
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
    run = _run(tmp_path, handoff, quantize={"imatrix": True}, testing={"test": False})

    with _context(run, tmp_path / "work") as context:
        run_convert(context)

    file = tmp_path / "published.gguf"
    file.write_bytes(_gguf(run)["tiny-Q4_1.gguf"])
    keys = gguf.GGUFReader(file).fields
    assert keys["quantize.imatrix.dataset"].contents() == "training-rows.txt"
    assert keys["quantize.imatrix.entries_count"].contents() == 14
    texts = (tmp_path / "work" / "scratch" / "full" / "training-rows.txt").read_text()
    assert texts.startswith("<|im_start|>system\nAnswer with one action.<|im_end|>\n")
