"""The base as QLoRA trained on it: rounded here as the train stage's loader rounds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ftctl.contract.spec import Dtype
from ftctl.errors import RunFailedError
from ftctl_trainer.export.base import base_tensors, rounded_base
from ftctl_trainer.export.nf4 import Nf4
from ftctl_trainer.model.dense import make_dense, quantized_layers
from ftctl_trainer.model.load import load_quantized


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_base_is_rounded_as_it_was_in_training(
    dtype: Dtype, tiny_base: Path, tmp_path: Path
) -> None:
    trained = load_quantized(tiny_base, dtype=dtype, use_8bit=False)
    nf4 = Nf4(dtype=dtype, modules=quantized_layers(trained))
    make_dense(trained)

    ours = base_tensors(rounded_base(tiny_base, nf4, tmp_path / "nf4"))

    whole = base_tensors(tiny_base)
    assert len(nf4.modules) == 14
    assert ours.keys() == whole.keys()
    for name, weight in trained.named_parameters():
        if name in ours:
            changed = name.removesuffix(".weight") in nf4.modules
            found = ours[name].load()
            if changed:
                np.testing.assert_array_equal(found, weight.numpy())
                assert np.abs(found - whole[name].load()).max() > 0
            else:
                np.testing.assert_array_equal(found, whole[name].load())


def test_a_layer_that_the_base_does_not_have_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    nf4 = Nf4(dtype="float32", modules=["model.layers.0.mlp.experts"])

    with pytest.raises(RunFailedError, match=r"experts.weight was quantized in training"):
        base_tensors(rounded_base(tiny_base, nf4, tmp_path / "nf4"))
