"""The fused LoRA forward against PEFT's own, on a real 4-bit model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.model.fused import LoraLinear, fuse_lora
from ftctl_trainer.model.lora import trainable
from tests.integration.tuned_model import tuned


def step(model: Any, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, dict[str, Any]]:
    """Logits, and the gradient of every adapter weight."""
    ids = torch.arange(10, 58).view(2, 24)
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    return output.logits.detach(), {n: w.grad for n, w in trainable(model).items()}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_its_gradients_are_those_of_the_formula(bias: bool) -> None:
    torch.manual_seed(0)
    shapes = ((2, 3, 5), (2, 5), (4, 2))
    x, a, b = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    weight = torch.randn(4, 5, dtype=torch.float64)
    offset = torch.randn(4, dtype=torch.float64) if bias else None

    def fused(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        apply: Callable[..., torch.Tensor] = LoraLinear.apply
        return apply(x, a, b, 0.5, weight.to, offset)

    expected = x @ weight.T + 0.5 * (x @ a.T) @ b.T + (0.0 if offset is None else offset)
    assert torch.allclose(fused(x, a, b), expected)
    assert torch.autograd.gradcheck(fused, (x, a, b))


def test_a_step_gives_the_logits_and_gradients_of_peft(model: Path) -> None:
    plain, fused = tuned(model), tuned(model)
    assert fuse_lora(fused) == 14
    (expected, expected_grads), (logits, grads) = step(plain), step(fused)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        assert grad.dtype == torch.float32
        assert grad.abs().max() > 0, name
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-3, atol=1e-5, msg=name)


def test_under_autocast_it_rounds_no_worse_than_peft(model: Path) -> None:
    exact = step(tuned(model))[1]
    errors = []
    for fuse in (False, True):
        one = tuned(model, dtype="bfloat16")
        if fuse:
            assert fuse_lora(one) == 14
        grads = step(one, torch.bfloat16)[1]
        total = sum(float((grads[name] - exact[name]).square().sum()) for name in exact)
        errors.append(total)
    assert errors[1] < 1.5 * errors[0]


def test_recomputed_activations_give_the_same_gradients(model: Path) -> None:
    kept, recomputed = tuned(model), tuned(model)
    fuse_lora(kept)
    fuse_lora(recomputed)
    recomputed.gradient_checkpointing_enable({"use_reentrant": False})
    expected, grads = step(kept)[1], step(recomputed)[1]
    assert all(torch.equal(grads[name], expected[name]) for name in expected)


def test_without_the_adapter_it_is_the_base(model: Path) -> None:
    one = tuned(model)
    ids = torch.arange(10, 34).view(1, 24)
    with one.disable_adapter(), torch.no_grad():
        expected = one(input_ids=ids).logits
    fuse_lora(one)
    with one.disable_adapter():
        logits = one(input_ids=ids).logits
    torch.testing.assert_close(logits, expected)


def test_layers_it_is_not_written_for_keep_pefts_forward(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert fuse_lora(tuned(model, dropout=0.1)) == 0
    assert "14 of 14 LoRA layers keep PEFT's own forward" in caplog.text
