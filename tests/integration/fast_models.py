"""Models that the fast layers know, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.model.fast import plan
from ftctl_trainer.model.fast.install import FastModel, fast_model, install
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.lora import trainable
from tests.integration.tiny_model import save_tokenizer
from tests.integration.tuned_model import tuned

LENGTHS = (5, 23, 11)
MAIN_BYTES = 10**8


def made_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A two-layer model of every architecture that the fast layers know."""
    from transformers import AutoConfig, AutoModelForCausalLM

    made = {}
    biases = {"attention_bias": True, "mlp_bias": True}
    for name, more in {"llama": {}, "llama-biases": biases, "mistral": {}, "qwen2": {}}.items():
        kind, _, _ = name.partition("-")
        folder = tmp_path_factory.mktemp(name)
        vocabulary = len(save_tokenizer(folder))
        config = AutoConfig.for_model(
            kind,
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=None,
            tie_word_embeddings=False,
            dtype="float32",
            **more,
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "norm" in key:
                    weight.normal_(1.0, 0.2)
                elif key.endswith("bias"):
                    weight.normal_(0.0, 0.05)
        model.save_pretrained(folder)
        made[name] = folder
    return made


def with_fast_layers(folder: Path, **options: Any) -> tuple[Any, FastModel]:
    """A model of `tuned` with the fast layers, and these."""
    model = tuned(folder, **options)
    install(model)
    fast = fast_model(model)
    assert fast is not None
    return model, fast


def with_little_memory(
    monkeypatch: pytest.MonkeyPatch, fast: FastModel, tokens: int, spare: float
) -> None:
    """Let plans find `spare` bytes beside a step, 100 MB outside the GPU, and a link to there."""
    free = (plan._step_bytes(fast, tokens) + spare) / plan._SHARE
    monkeypatch.setattr(plan, "free_bytes", lambda: free)
    monkeypatch.setattr(plan, "free_main_memory", lambda: MAIN_BYTES)
    monkeypatch.setattr(plan, "_seconds", lambda *_: (1.0, 1.0, 10**9))


def rows() -> list[dict[str, list[int]]]:
    """Rows of random tokens; the first half carries no loss, but in the second."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for length in LENGTHS:
        ids = torch.randint(3, 380, (length,), generator=generator).tolist()
        found.append({"input_ids": ids, "labels": [-100] * (length // 2) + ids[length // 2 :]})
    found[1]["labels"] = found[1]["input_ids"]
    return found


def backward(loss: Any) -> None:
    """torch does not type it."""
    loss.backward()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Of every trained weight; they are cleared."""
    found = {name: weight.grad for name, weight in trainable(model).items()}
    model.zero_grad()
    return found


def alone(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the rows, each by itself through the model's own layers."""
    total = 0.0
    for row in rows():
        loss = label_loss_sum(model, {n: torch.tensor([v]) for n, v in row.items()})
        backward(loss)
        total += loss.item()
    return total, gradients(model)


def together(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """The same end to end through the fast layers."""
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    backward(loss)
    return loss.item(), gradients(model)


def assert_same(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, grad in found[1].items():
        reference = expected[1][name]
        assert reference.abs().max() > 0, name
        error = (grad - reference).norm() / reference.norm()
        assert error < 1e-5, (name, float(error))
