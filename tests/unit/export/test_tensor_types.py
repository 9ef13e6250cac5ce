"""Which type each tensor gets; the expected plans are llama-quantize's own (--dry-run)."""

from __future__ import annotations

import numpy as np
import pytest

from ftctl.contract.exportable import BUILT_IN_TYPES
from ftctl.errors import ConfigError, RunFailedError
from ftctl_trainer.export.tensor_types import check_types, plan
from ftctl_trainer.export.tensors import Tensor


def _llama(blocks: int, hidden: int, *, tied: bool) -> list[Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (1000, hidden),
        "output_norm.weight": (hidden,),
    }
    for block in range(blocks):
        for part in ("attn_q", "attn_v", "attn_output", "ffn_down"):
            shapes[f"blk.{block}.{part}.weight"] = (hidden, hidden)
        shapes[f"blk.{block}.attn_norm.weight"] = (hidden,)
    if not tied:
        shapes["output.weight"] = (1000, hidden)
    return [Tensor(name, shape, lambda: np.zeros(1, np.float32)) for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("qtype", "hidden", "tied", "want"),
    [
        pytest.param(
            "f16", 512, True, {"token_embd": "F16", "attn_v": "F16"}, id="floats-as-asked"
        ),
        pytest.param("q4_1", 512, True, {"token_embd": "Q6_K", "attn_v": "Q4_1"}, id="tied"),
        pytest.param(
            "q4_1", 512, False, {"token_embd": "Q4_1", "output": "Q6_K"}, id="output-of-its-own"
        ),
        pytest.param("q8_0", 512, True, {"token_embd": "Q8_0"}, id="eight-bits-throughout"),
        pytest.param(
            "q4_k_m",
            512,
            True,
            {"token_embd": "Q6_K", "attn_q": "Q4_K", "attn_v": "Q6_K", "ffn_down": "Q6_K"},
            id="medium-gives-first-layers-more",
        ),
        pytest.param("q2_k", 512, True, {"attn_output": "Q3_K", "ffn_down": "Q3_K"}, id="two-bits"),
        pytest.param(
            "q4_k_s", 576, True, {"token_embd": "Q8_0", "attn_q": "Q5_0"}, id="no-super-blocks-fit"
        ),
        pytest.param("q4_0", 40, True, {"attn_q": "F16"}, id="no-block-fits"),
    ],
)
def test_plan(qtype: str, hidden: int, tied: bool, want: dict[str, str]) -> None:
    found = plan(qtype, _llama(8, hidden, tied=tied), blocks=8, gqa=3)

    short = {name.split(".")[-2]: kind.name for name, kind in reversed(found.items())}
    assert {name: short[name] for name in want} == want
    assert short["output_norm"] == short["attn_norm"] == "F32"


def test_a_type_that_needs_an_importance_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="iq2_xs needs an importance matrix"):
        check_types(["q4_1", "iq2_xs"], built_in=False)


def test_a_type_that_only_llama_quantize_plans_is_refused_without_it() -> None:
    check_types(["iq3_m"], built_in=False)
    with pytest.raises(RunFailedError, match="iq3_m"):
        check_types(["iq3_m"], built_in=True)


def test_every_type_that_is_built_in_has_a_plan() -> None:
    tensors = _llama(2, 256, tied=True)
    for qtype in BUILT_IN_TYPES:
        assert set(plan(qtype, tensors, blocks=2, gqa=1)) == {tensor.name for tensor in tensors}
