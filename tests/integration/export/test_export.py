"""Real GGUF files, run by real llama.cpp: whole ones are proven, damaged ones are caught."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from safetensors.numpy import load_file, save_file

from ftctl.contract.spec import PathsConfig, Thresholds
from ftctl.errors import RunFailedError, StoppedError, VerificationError
from ftctl_trainer.export import llama_cpp
from ftctl_trainer.export.built_in import built_in_model
from ftctl_trainer.export.gguf import export, read_back_merged, write_merged
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.isolated import isolated
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.plain_path import convert
from ftctl_trainer.export.quantize import write_ggufs
from ftctl_trainer.export.tensors import Tensor
from ftctl_trainer.export.tools import Tools, find_tools
from ftctl_trainer.export.verify import base_kl, verify_output
from tests.integration.export.conftest import Handoff, exported
from tests.integration.handoff import make_adapter, make_reference

# A random model's most likely tokens are near ties, which quantization decides anew.
LIMITS = Thresholds(mean_kl=0.02, p99_kl=0.1, top1_agreement=0.5, perplexity_ratio=1.1)
FOUR_BITS = Thresholds(mean_kl=0.15, p99_kl=1.0, top1_agreement=0.5, perplexity_ratio=1.25)
EXACT = Thresholds(mean_kl=1e-4, p99_kl=1e-3, top1_agreement=0.95, perplexity_ratio=1.01)


def _missed(
    file: Path, handoff: Handoff, limits: Thresholds = LIMITS, qtype: str = "f16"
) -> set[str]:
    found = verify_output(
        qtype, [file], handoff.reference, limits, threads=2, stop=threading.Event()
    )
    return {check.name for check in found.checks if not check.passed}


def test_every_type_of_one_pass_is_proven(handoff: Handoff, tmp_path: Path) -> None:
    files = exported(
        handoff.inputs, tmp_path, "f32", "f16", "bf16", "q8_0", "q4_1", "q5_0", "q4_k_m", "q6_k"
    )

    assert base_kl(handoff.reference) > 0.05
    assert _missed(files["f32"], handoff, EXACT) == set()
    assert _missed(files["f16"], handoff, EXACT) == set()
    for qtype in ("bf16", "q8_0", "q5_0", "q6_k"):
        assert _missed(files[qtype], handoff) == set(), qtype
    for qtype in ("q4_1", "q4_k_m"):
        assert _missed(files[qtype], handoff, FOUR_BITS) == set(), qtype


def test_the_files_say_what_they_are(handoff: Handoff, tmp_path: Path) -> None:
    file = exported(handoff.inputs, tmp_path, "q4_1")["q4_1"]

    reader = gguf.GGUFReader(file)

    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "llama"
    assert fields["general.file_type"] == 3
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert {Kind(tensor.tensor_type).name for tensor in reader.tensors} == {"F32", "Q4_1", "Q8_0"}


@pytest.mark.filterwarnings("default:Model has .tie_word:UserWarning")
def test_a_trained_output_layer_leaves_its_embedding(tiny_base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_base, tmp_path / "adapter", modules_to_save=["lm_head"])
    texts = [("it is dark", " switch on the lamp")]
    untied = Handoff(
        tiny_base, adapter, make_reference(tiny_base, adapter, tmp_path / "reference", texts)
    )

    file = exported(untied.inputs, tmp_path, "f16")["f16"]

    assert "output.weight" in {tensor.name for tensor in gguf.GGUFReader(file).tensors}
    assert _missed(file, untied, EXACT) == set()


def test_numpy_and_ggml_quantize_alike() -> None:
    values = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)

    for kind in (Kind.Q4_1, Kind.Q8_0, Kind.Q5_0):
        ours = llama_cpp.quantize(values, int(kind), 2)
        np.testing.assert_array_equal(ours, gguf.quantize(values, kind))


def test_a_base_on_the_grid_of_the_type_is_not_rounded_to_nearest(
    handoff: Handoff, tmp_path: Path
) -> None:
    """A base from a Q4_1 file, exported to q4_1; and what is read back is what was merged."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(handoff.base, base)
    weights = load_file(base / "model.safetensors")
    for name, values in weights.items():
        if "proj" in name:
            weights[name] = np.array(gguf.dequantize(gguf.quantize(values, Kind.Q4_1), Kind.Q4_1))
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    make_adapter(base, adapter, spread=0.03)
    on_grid = Handoff(base, adapter, tmp_path)

    file = exported(on_grid.inputs, tmp_path, "q4_1")["q4_1"]

    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    nearest = on_grid_model_rounded_to_nearest(on_grid, "blk.0.attn_q.weight")
    assert not np.array_equal(stored["blk.0.attn_q.weight"].data, nearest)


def on_grid_model_rounded_to_nearest(handoff: Handoff, name: str) -> np.ndarray:
    """What ggml makes of a merged tensor by itself."""
    tensors = {tensor.name: tensor for tensor in built_in_model(handoff.inputs).tensors}
    return llama_cpp.quantize(tensors[name].load(), int(Kind.Q4_1), 1)


def test_a_forgotten_adapter_is_caught(handoff: Handoff, tmp_path: Path) -> None:
    model = built_in_model(handoff.inputs)
    nothing = make_adapter(handoff.base, tmp_path / "nothing", spread=0)
    write_ggufs(
        built_in_model(Inputs(handoff.base, nothing, "tiny")), {"f16": tmp_path / "a.gguf"}, 2
    )

    assert len(model.tensors) == 20
    assert {"mean_kl", "adapter_shows"} <= _missed(tmp_path / "a.gguf", handoff)


def test_a_permutation_left_out_is_caught(handoff: Handoff, tmp_path: Path) -> None:
    model = built_in_model(handoff.inputs)
    plain = {tensor.name: tensor for tensor in merged_tensors(handoff.base, handoff.adapter)}
    tensors = [
        replace(tensor, load=plain[f"model.layers.{tensor.name[4]}.self_attn.q_proj.weight"].load)
        if "attn_q.weight" in tensor.name
        else tensor
        for tensor in model.tensors
    ]
    write_ggufs(replace(model, tensors=tensors), {"f16": tmp_path / "a.gguf"}, 2)

    with pytest.raises(VerificationError, match=r"attn_q.weight .*is not what was merged"):
        read_back_merged(handoff.inputs, {"f16": tmp_path / "a.gguf"}, None, tmp_path, 2)
    assert "mean_kl" in _missed(tmp_path / "a.gguf", handoff)


def test_swapped_permutations_are_caught(handoff: Handoff, tmp_path: Path) -> None:
    """The rows of q in the order of k's heads, and those of k in the order of q's."""
    model = built_in_model(handoff.inputs)
    plain = {tensor.name: tensor for tensor in merged_tensors(handoff.base, handoff.adapter)}
    heads = {"attn_q": ("q_proj", 2), "attn_k": ("k_proj", 4)}

    def swapped(tensor: Tensor) -> Tensor:
        part, block = tensor.name.split(".")[-2], tensor.name[4]
        if part not in heads:
            return tensor
        module, count = heads[part]
        values = plain[f"model.layers.{block}.self_attn.{module}.weight"].load()
        halves = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2)
        return replace(tensor, load=lambda: halves.reshape(values.shape))

    wrong = replace(model, tensors=[swapped(tensor) for tensor in model.tensors])
    write_ggufs(wrong, {"f16": tmp_path / "a.gguf"}, 2)

    with pytest.raises(VerificationError, match=r"attn_[qk].weight .*is not what was merged"):
        read_back_merged(handoff.inputs, {"f16": tmp_path / "a.gguf"}, None, tmp_path, 2)
    assert "mean_kl" in _missed(tmp_path / "a.gguf", handoff)


def test_another_rope_is_caught(handoff: Handoff, tmp_path: Path) -> None:
    model = built_in_model(handoff.inputs)
    key = "llama.rope.freq_base"
    rope = replace(model.metadata[key], value=500.0)
    wrong = replace(model, metadata={**model.metadata, key: rope})
    write_ggufs(wrong, {"f16": tmp_path / "a.gguf"}, 2)

    assert "mean_kl" in _missed(tmp_path / "a.gguf", handoff, EXACT)


def test_one_negated_block_is_caught_when_read_back(handoff: Handoff, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    write_merged(handoff.inputs, {"q8_0": file}, None, tmp_path, 2)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file, "r+").tensors}
    rows = tensors["blk.1.ffn_up.weight"].data
    rows[3, 2:34] = (-rows[3, 2:34].view(np.int8)).view(np.uint8)
    rows.base.flush() if hasattr(rows.base, "flush") else None

    with pytest.raises(VerificationError, match=r"blk.1.ffn_up.weight \(Q8_0\).*block 6 is off"):
        read_back_merged(handoff.inputs, {"q8_0": file}, None, tmp_path, 2)


def test_another_chat_template_is_caught(handoff: Handoff, tmp_path: Path) -> None:
    damaged = handoff.with_copy(tmp_path / "adapter")
    (damaged.adapter / "chat_template.jinja").write_text(
        "{% for m in messages %}### {{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    write_merged(damaged.inputs, {"f16": tmp_path / "a.gguf"}, None, tmp_path, 2)

    assert _missed(tmp_path / "a.gguf", handoff, EXACT) == {"template"}


def test_another_tokenizer_is_caught(handoff: Handoff, tmp_path: Path) -> None:
    damaged = handoff.with_copy(tmp_path / "adapter")
    file = damaged.adapter / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:20]
    file.write_text(json.dumps(tokenizer))
    write_merged(damaged.inputs, {"f16": tmp_path / "a.gguf"}, None, tmp_path, 2)

    assert _missed(tmp_path / "a.gguf", handoff, EXACT) == {"tokens"}


def test_another_architecture_is_refused_by_name(handoff: Handoff, tmp_path: Path) -> None:
    shutil.copytree(handoff.base, tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(
        json.dumps({**config, "architectures": ["PhiForCausalLM"]})
    )

    with pytest.raises(RunFailedError, match=r"PhiForCausalLM: not handled without llama\.cpp"):
        built_in_model(Inputs(tmp_path / "base", handoff.adapter, "tiny"))


def test_a_file_that_llama_cpp_cannot_load_is_a_clear_error(
    handoff: Handoff, tmp_path: Path
) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF, or not")

    with pytest.raises(RunFailedError, match=r"llama\.cpp cannot load this file"):
        _missed(file, handoff)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_crash_in_native_code_is_a_clear_error() -> None:
    with pytest.raises(RunFailedError, match="_crash ended without a result, killed by SIGSEGV"):
        isolated(threading.Event(), _crash)


def _say() -> None:
    sys.stdout.write("said in the process\n")
    sys.stderr.write("and warned\n")


def test_what_native_code_says_is_not_lost_in_a_pipe() -> None:
    call = "import threading; from tests.integration.export import test_export as here; "
    call += "here.isolated(threading.Event(), here._say)"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)

    assert "said in the process\n" in done.stdout
    assert "and warned\n" in done.stderr


def test_a_stop_ends_native_code_at_once() -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    start = time.monotonic()

    with pytest.raises(StoppedError, match="stopped on request"):
        isolated(stop, time.sleep, 60)
    assert time.monotonic() - start < 30


def test_a_tool_that_fails_says_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys\nprint('no such thing')\nsys.exit(3)\n")
    (tmp_path / "config.json").write_text('{"dtype": "float32"}')

    with pytest.raises(RunFailedError, match=r"ended with code 3\nno such thing"):
        convert(Tools(script, script), tmp_path, tmp_path / "out", "tiny", threading.Event())


def test_llama_cpps_tools_are_taken_only_when_both_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FTCTL_LLAMA_CPP_DIR", raising=False)
    paths = PathsConfig(llama_cpp_dir=str(tmp_path), quantized_path="bin/llama-quantize")
    converter, quantizer = tmp_path / "convert_hf_to_gguf.py", tmp_path / "bin" / "llama-quantize"
    converter.touch()
    assert find_tools(paths) is None

    quantizer.parent.mkdir()
    quantizer.touch()
    assert find_tools(paths) == Tools(converter, quantizer)


def test_an_images_tools_are_taken_where_the_paths_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = PathsConfig(llama_cpp_dir="/laptop/llama.cpp", quantized_path="bin/llama-quantize")
    tools = Tools(tmp_path / "convert_hf_to_gguf.py", tmp_path / "build" / "bin" / "llama-quantize")
    tools.quantizer.parent.mkdir(parents=True)
    tools.converter.touch()
    tools.quantizer.touch()
    monkeypatch.delenv("FTCTL_LLAMA_CPP_DIR", raising=False)
    assert find_tools(paths) is None

    monkeypatch.setenv("FTCTL_LLAMA_CPP_DIR", str(tmp_path))
    assert find_tools(paths) == tools


def test_a_converter_that_does_not_stream_is_run_as_a_whole(
    handoff: Handoff, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sources are a stub without the package `conversion`, whose script says that it ran."""
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys\nprint('the whole converter ran')\nsys.exit(3)\n")
    shutil.copytree(Path(gguf.__file__).parent, tmp_path / "gguf-py" / "gguf")
    (tmp_path / "scratch").mkdir()

    with (
        caplog.at_level("INFO"),
        pytest.raises(RunFailedError, match=r"ended with code 3\nthe whole converter ran"),
    ):
        export(
            handoff.inputs,
            {"iq3_m": tmp_path / "out.gguf"},
            tools=Tools(script, script),
            scratch=tmp_path / "scratch",
            threads=1,
            stop=threading.Event(),
        )
    assert "export: not in one pass: llama.cpp's converter: ModuleNotFoundError" in caplog.text
