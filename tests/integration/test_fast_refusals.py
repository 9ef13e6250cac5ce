"""What the fast layers leave to transformers' own, or refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.labels import label_loss_sum
from tests.integration.fast_models import (
    backward,
    rows,
)
from tests.integration.tuned_model import SEVEN, tuned


def test_passes_without_gradients_are_the_models_own(folders: dict[str, Path]) -> None:
    plain, fast = tuned(folders["llama"]).eval(), tuned(folders["llama"]).eval()
    install(fast)
    ids = torch.arange(10, 34).view(1, 24)

    with torch.no_grad():
        assert torch.equal(fast(input_ids=ids).logits, plain(input_ids=ids).logits)
        answers = [
            model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
            for model in (fast, plain)
        ]
    assert torch.equal(*answers)


def test_a_second_backward_pass_is_refused(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"])
    install(model)
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    torch.autograd.backward(loss, retain_graph=True)

    with pytest.raises(RuntimeError, match="runs once"):
        backward(loss)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"use_dora": True}, "LoRA with biases or a variant"),
        ({"layers": [*SEVEN, "lm_head"]}, "its output layer is a"),
    ],
)
def test_what_it_is_not_written_for_is_refused(
    folders: dict[str, Path], options: dict[str, Any], why: str
) -> None:
    model = tuned(folders["llama"], **options)

    with pytest.raises(ValueError, match=why):
        install(model)
    assert fast_model(model) is None


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("sliding_window", 16, "slides over the row"),
        ("attention_dropout", 0.1, "attention has dropout"),
        ("hidden_act", "gelu", "its activation is gelu"),
        ("model_type", "gemma3_text", "gemma3_text layers are not among those"),
    ],
)
def test_a_model_that_computes_otherwise_is_refused(
    folders: dict[str, Path], setting: str, value: object, why: str
) -> None:
    model = tuned(folders["llama"])
    setattr(model.get_base_model().config, setting, value)

    with pytest.raises(ValueError, match=why):
        install(model)


def test_a_window_over_none_of_the_layers_is_no_window(folders: dict[str, Path]) -> None:
    """Qwen2 names a window that it does not use."""
    model = tuned(folders["qwen2"])
    config = model.get_base_model().config
    config.sliding_window, config.layer_types = 16, ["full_attention", "full_attention"]
    install(model)

    assert fast_model(model) is not None


def test_a_norm_that_is_trained_is_refused(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"])
    model.get_base_model().model.norm.weight.requires_grad_(True)

    with pytest.raises(ValueError, match="norms is trained"):
        install(model)
