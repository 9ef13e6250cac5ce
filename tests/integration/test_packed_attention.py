"""Rows in one sequence learn what they learn alone: in models that see far, and that see near."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import Collator, EndToEndCollator
from ftctl_trainer.data.packing import packed
from ftctl_trainer.model.labels import label_logits, label_loss_sum

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}


@pytest.fixture(params=["sdpa", "eager"])
def attention(request: pytest.FixtureRequest) -> str:
    """What computes the attention on a CPU."""
    return str(request.param)


@pytest.fixture(params=["llama", "qwen3", "gemma3"])
def model(request: pytest.FixtureRequest, attention: str) -> Any:
    """A model of random weights in float32; gemma3 has layers that see four tokens back."""
    from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen3Config

    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    configs: dict[str, Any] = {
        "llama": lambda: LlamaConfig(**SIZES),
        "qwen3": lambda: Qwen3Config(**SIZES),
        "gemma3": lambda: Gemma3TextConfig(**SIZES, sliding_window=4, layer_types=layers),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(
            configs[request.param](), attn_implementation=attention, dtype=torch.float32
        )


def test_packed_rows_have_the_losses_and_gradients_of_rows_alone(model: Any) -> None:
    rows = _rows(11, 5, 17, 9, 3)
    alone = Collator(0)(rows)
    together = Collator(0)(packed(rows, 30, 1))
    assert together["input_ids"].shape == (2, 28)

    losses = [_losses(model, batch) for batch in (alone, together)]
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    gradients = [_gradients(model, batch) for batch in (alone, together)]
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4, rtol=1e-4), name


def test_another_token_in_a_neighbour_changes_nothing_in_a_row(model: Any) -> None:
    batch = Collator(0)(packed(_rows(10, 12, 8), 30, 0))
    changed = batch["input_ids"].clone()
    changed[0, 4] = (changed[0, 4] + 1) % 64
    with torch.no_grad():
        before = _hidden(model, batch["input_ids"], batch["position_ids"])
        after = _hidden(model, changed, batch["position_ids"])
    assert torch.equal(before[:, 10:], after[:, 10:])
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:10], after[:, 4:10])


def test_end_to_end_rows_say_where_each_begins() -> None:
    batch = EndToEndCollator()([*packed(_rows(5, 3), 8, 0), *packed(_rows(4), 8, 0)])
    assert batch["input_ids"].shape == (1, 12)
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 5, 8, 12]
    assert (batch["max_length_q"], batch["max_length_k"]) == (5, 5)
    assert batch["real_tokens"].tolist() == [12]


def _rows(*lengths: int) -> list[dict[str, list[int]]]:
    """Random rows whose second half is the answer."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for length in lengths:
        ids = torch.randint(1, 64, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    return rows


def _losses(model: Any, batch: Any) -> torch.Tensor:
    """Of every label, in a canonical order: rows are packed in another."""
    with torch.no_grad():
        logits, targets = label_logits(model, batch)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return losses.sort().values


def _gradients(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss: Any = label_loss_sum(model, batch)
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def _hidden(model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, position_ids=positions, use_cache=False).logits
