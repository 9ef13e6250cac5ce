"""What llama-quantize --dry-run says, read: the lines are its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl.errors import RunFailedError
from ftctl_trainer.export.dry_run import parse_plan

SAID = """\
llama_model_loader: - kv  35:            tokenizer.ggml.padding_token_id u32              = 0
warning: blk.0.attn_k.weight  - ncols    64 not divisible by 256 (required for type    q4_K) -> q5_0
[   1/   4] output_norm.weight                   - [    64,      1,      1,      1], type =    f32, size =    0.000 MiB
[   2/   4] token_embd.weight                    - [    64,    384,      1,      1], type =    f32, size =     0.09 MiB ->     0.02 MiB (q8_0)
[   3/   4] blk.0.attn_k.weight                  - [    64,     32,      1,      1], type =    f32, size =     0.01 MiB ->     0.00 MiB (q5_0)
[   4/   4] blk.0.ffn_down.weight                - [   256,    256,      4,      1], type =    f32, size =     1.00 MiB ->     0.14 MiB (iq3_xxs)
llama_model_quantize_impl: model size  =     1.10 MiB (32.00 BPW)
"""  # noqa: E501
PLAN = {
    "output_norm.weight": Kind.F32,
    "token_embd.weight": Kind.Q8_0,
    "blk.0.attn_k.weight": Kind.Q5_0,
    "blk.0.ffn_down.weight": Kind.IQ3_XXS,
}


def test_every_tensor_has_the_type_that_it_goes_to() -> None:
    assert parse_plan(SAID, set(PLAN), Path("llama-quantize")) == PLAN


@pytest.mark.parametrize(
    ("said", "names"),
    [
        pytest.param(SAID, {*PLAN, "output.weight"}, id="a-tensor-that-is-not-named"),
        pytest.param(SAID.replace("q8_0", "q9_9"), set(PLAN), id="a-type-of-a-later-version"),
        pytest.param("usage: llama-quantize [--help]", set(PLAN), id="no-such-option"),
    ],
)
def test_what_is_not_understood_is_an_error(said: str, names: set[str]) -> None:
    with pytest.raises(RunFailedError, match="says nothing that is understood of"):
        parse_plan(said, names, Path("llama-quantize"))
