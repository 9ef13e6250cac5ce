"""GGUF files: lists of metadata as the package gguf packs them, rows as they come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFValueType as Value

from ftctl_trainer.export.gguf_file import GgufFile, _Writer
from ftctl_trainer.export.tensors import Tensor

ARCHITECTURE = gguf.Keys.General.ARCHITECTURE

LISTS: dict[str, tuple[Any, Value | None]] = {
    "words": (["a", "", "\u0444\u044b", "\U0001f600 b"], None),
    "words-by-type": (["a", "b"], Value.STRING),
    "integers": ([1, -2, 3], None),
    "small-integers": ([1, 2, 255], Value.UINT8),
    "floats": ([0.5, -1e-3], None),
    "floats-from-integers": ([1, 2], Value.FLOAT32),
    "truths": ([True, False], None),
    "bytes": (b"abc", None),
    "words-of-bytes": ([b"a", b"bc"], Value.STRING),
}


@pytest.mark.parametrize("with_type", [True, False])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_the_packages_bytes(tmp_path: Path, name: str, with_type: bool) -> None:
    values, kind = LISTS[name]

    ours = _Writer(tmp_path / "a", "")._pack_val(values, Value.ARRAY, with_type, kind)

    package = gguf.GGUFWriter(tmp_path / "b", "")
    assert bytes(ours) == package._pack_val(values, Value.ARRAY, with_type, kind)


def test_rows_are_written_whole_where_the_system_takes_some_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = Tensor("a", values.shape, lambda: values)
    metadata = {"general.architecture": gguf.GGUFWriter(None, "llama").kv_data[0][ARCHITECTURE]}

    def written(name: str) -> bytes:
        file = GgufFile(tmp_path / name, metadata, [tensor], {"a": Kind.F32})
        file.write("a", 1, values[1:])
        file.write("a", 0, values[:1])
        file.close()
        return (tmp_path / name).read_bytes()

    whole, pwrite = written("whole"), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda to, data, at: pwrite(to, data[:7], at))

    assert written("in-pieces") == whole
    np.testing.assert_array_equal(gguf.GGUFReader(tmp_path / "in-pieces").tensors[0].data, values)


def test_a_list_of_several_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same type"):
        _Writer(tmp_path / "a", "")._pack_val(["a", 1], Value.ARRAY, True)
