"""Lists of metadata are packed as the package gguf packs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from gguf import GGUFValueType as Value

from ftctl_trainer.export.gguf_file import _Writer

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


def test_a_list_of_several_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same type"):
        _Writer(tmp_path / "a", "")._pack_val(["a", 1], Value.ARRAY, True)
