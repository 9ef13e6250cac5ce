"""Reading a file back: lists before the tensors are stepped over, large tensors go in parts."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl.errors import VerificationError
from ftctl_trainer.export.readback import read_back
from ftctl_trainer.export.tensors import Tensor

SHAPE = (3000, 256)
BLOCKS_A_ROW = 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two tensors behind lists of every sort."""
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("strings", ["", "один", "two" * 1000])
    writer.add_array("integers", list(range(1000)))
    writer.add_array("floats", [0.5, 1.5])
    writer.add_array("flags", [True, False, True])
    writer.add_string("text", "after the lists")
    for tensor in _tensors():
        kind = Kind.F32 if tensor.name == "norm" else Kind.Q8_0
        writer.add_tensor(tensor.name, gguf.quantize(tensor.load(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors() -> list[Tensor]:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    norm = np.linspace(0, 1000, 256, dtype=np.float32).reshape(1, -1)
    return [
        Tensor("norm", norm.shape, lambda: norm),
        Tensor("large", values.shape, lambda: values),
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_is_what_it_was_made_from(file: Path, threads: int) -> None:
    assert read_back([[file]], _tensors(), threads) == 2


def _blocks(file: Path) -> np.ndarray:
    """[rows, blocks of a row, bytes] of the large tensor, to write to."""
    (large,) = (t for t in gguf.GGUFReader(file, "r+").tensors if t.name == "large")
    return large.data.reshape(SHAPE[0], BLOCKS_A_ROW, -1)


@pytest.mark.parametrize("row", [0, 255, 256, 2047, 2999])
def test_a_damaged_block_is_named_wherever_it_is(file: Path, row: int) -> None:
    codes = _blocks(file)[row, 5, 2:].view(np.int8)
    codes[:] = -codes

    with pytest.raises(VerificationError, match=rf"large \(Q8_0\).*block {row * 8 + 5} is off"):
        read_back([[file]], _tensors(), 2)


def test_a_norm_may_be_off_by_the_order_of_a_sum_of_its_largest(file: Path) -> None:
    (norm,) = (t for t in gguf.GGUFReader(file, "r+").tensors if t.name == "norm")
    norm.data.reshape(-1)[0] += 5e-4  # of 1,000

    assert read_back([[file]], _tensors(), 2) == 2

    norm.data.reshape(-1)[0] += 2e-3
    with pytest.raises(VerificationError, match=r"norm \(F32\)"):
        read_back([[file]], _tensors(), 2)
