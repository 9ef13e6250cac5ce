"""Split GGUFs: the same tensors and metadata as the whole file, run by llama.cpp as one model."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from ftctl.contract.spec import Thresholds
from ftctl.errors import VerificationError
from ftctl_trainer.export.gguf import export, read_back_merged
from ftctl_trainer.export.split import parts_of, split_file
from ftctl_trainer.export.verify import verify_output
from tests.integration.export.conftest import Handoff, exported

LIMIT = 60_000
EXACT = Thresholds(mean_kl=1e-3, p99_kl=1e-2, top1_agreement=0.9, perplexity_ratio=1.02)


@pytest.fixture(scope="module")
def whole(handoff: Handoff, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The F16 file in one piece."""
    return exported(handoff.inputs, tmp_path_factory.mktemp("whole"), "f16")["f16"]


@pytest.fixture(scope="module")
def parts(handoff: Handoff, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same, cut while it was exported."""
    folder = tmp_path_factory.mktemp("parts")
    path = folder / "f16.gguf"
    export(
        handoff.inputs, {"f16": path}, tools=None, scratch=folder, threads=2,
        stop=threading.Event(), split_bytes=LIMIT,
    )  # fmt: skip
    return parts_of(path)


def _keys(file: Path) -> dict[str, Any]:
    fields = gguf.GGUFReader(file).fields.values()
    return {field.name: (field.contents(), field.types) for field in fields}


def _data(files: Iterable[Path]) -> list[tuple[str, int, bytes]]:
    return [
        (tensor.name, int(tensor.tensor_type), tensor.data.tobytes())
        for file in files
        for tensor in gguf.GGUFReader(file).tensors
    ]


def test_the_parts_have_the_tensors_and_the_first_the_metadata_of_the_whole(
    whole: Path, parts: list[Path]
) -> None:
    count = len(parts)
    u16, i32 = gguf.GGUFValueType.UINT16, gguf.GGUFValueType.INT32
    own = [
        {
            "split.no": (number, [u16]),
            "split.count": (count, [u16]),
            "split.tensors.count": (len(_data([whole])), [i32]),
        }
        for number in range(count)
    ]

    assert count > 2
    assert [part.name for part in parts] == [
        f"f16-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)
    ]
    assert _data(parts) == _data([whole])
    ours = [{k: v for k, v in _keys(part).items() if k[:5] != "GGUF."} for part in parts]
    of_whole = {k: v for k, v in _keys(whole).items() if k[:5] != "GGUF."}
    assert ours == [of_whole | own[0], *own[1:]]


def test_a_file_that_something_else_wrote_is_cut_the_same(
    whole: Path, parts: list[Path], tmp_path: Path
) -> None:
    copy = tmp_path / "f16.gguf"
    shutil.copyfile(whole, copy)

    split_file(copy, LIMIT)

    assert [part.name for part in parts_of(copy)] == [part.name for part in parts]
    assert [part.read_bytes() for part in parts_of(copy)] == [part.read_bytes() for part in parts]
    assert len(list(tmp_path.iterdir())) == len(parts)


def test_a_file_below_the_limit_stays_one(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "f16.gguf"
    shutil.copyfile(whole, copy)

    split_file(copy, 10**9)

    assert parts_of(copy) == [copy]
    assert copy.read_bytes() == whole.read_bytes()


def _three_megabytes(path: Path) -> None:
    """A file with a value of each kind, and tensors that fill files unevenly."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("three")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.scale", 0.5)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_array("tokenizer.ggml.tokens", ["a", "б", "c"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    for number, rows in enumerate((1100, 900, 250, 600, 13)):
        values = np.full((rows, 256), number, np.float32)
        writer.add_tensor(f"blk.{number}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_the_parts_are_byte_for_byte_those_of_llama_gguf_split(tmp_path: Path) -> None:
    tool = os.path.join(os.environ.get("FTCTL_LLAMA_CPP_DIR", ""), "build/bin/llama-gguf-split")
    if not os.path.exists(tool):
        pytest.skip("FTCTL_LLAMA_CPP_DIR names no llama.cpp with llama-gguf-split")
    ours, theirs = tmp_path / "ours" / "three.gguf", tmp_path / "theirs" / "three.gguf"
    for file in (ours, theirs):
        file.parent.mkdir()
        _three_megabytes(file)
    size = ["--split-max-size", "2M", str(theirs), str(theirs.with_suffix(""))]
    subprocess.run([tool, "--split", *size], check=True, capture_output=True)
    theirs.unlink()

    split_file(ours, 2_000_000)

    assert len(parts_of(ours)) == 2
    assert {part.name: part.read_bytes() for part in parts_of(ours)} == {
        part.name: part.read_bytes() for part in parts_of(theirs)
    }
    joined = ours.with_name("joined.gguf")
    merge = [tool, "--merge", str(parts_of(ours)[0]), str(joined)]
    subprocess.run(merge, check=True, capture_output=True)
    assert _data([joined]) == _data(parts_of(theirs))


def test_llama_cpp_runs_the_parts_as_the_tuned_model(handoff: Handoff, parts: list[Path]) -> None:
    found = verify_output("f16", parts, handoff.reference, EXACT, threads=2, stop=threading.Event())

    assert [check.name for check in found.checks if not check.passed] == []
    assert found.file == parts[0].name
    assert found.parts == [part.name for part in parts]


def test_a_damaged_second_part_is_caught(
    handoff: Handoff, parts: list[Path], tmp_path: Path
) -> None:
    for part in parts:
        shutil.copyfile(part, tmp_path / part.name)
    second = gguf.GGUFReader(tmp_path / parts[1].name, "r+")
    second.tensors[-1].data[:] += 1
    del second

    with pytest.raises(VerificationError, match="is not what was merged"):
        read_back_merged(handoff.inputs, {"f16": tmp_path / "f16.gguf"}, None, tmp_path, 2)
