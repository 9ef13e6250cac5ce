"""Which attention a run computes with where its configuration leaves it open."""

from __future__ import annotations

import pytest
import torch

from ftctl_trainer.model.attention import choose_attention


@pytest.mark.parametrize(
    ("asked", "longest", "wanted"),
    [
        pytest.param(None, 103, "eager", id="short-rows"),
        pytest.param(None, 1868, None, id="one-long-row"),
        pytest.param("sdpa", 103, "sdpa", id="asked-for"),
        pytest.param("eager", 1868, "eager", id="asked-for-where-it-is-slow"),
    ],
)
def test_a_cpu_takes_plain_products_for_short_rows_and_the_fused_kernel_for_long_ones(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, longest: int, wanted: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    found = choose_attention(asked, packing=False, dtype="bfloat16", longest=longest)

    assert found == wanted


@pytest.mark.parametrize("longest", [103, 1868])
def test_a_gpu_is_left_to_transformers(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_attention(None, packing=False, dtype="bfloat16", longest=longest) is None
