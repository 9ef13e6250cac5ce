"""What the fast layers keep for the backward pass: there, in main memory, or computed again."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.model.fast import offload, plan
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.lora import trainable
from tests.integration.fast_models import (
    LENGTHS,
    assert_same,
    together,
)
from tests.integration.tuned_model import tuned

# Halves of the model, and its products.
GATES, ATTENTION, WEIGHTS = 2, 2, 8


@pytest.mark.parametrize("attention", [True, False], ids=["attention-kept", "attention-again"])
@pytest.mark.parametrize("mlp", [True, False], ids=["mlp-kept", "mlp-again"])
@pytest.mark.parametrize("between", [True, False], ids=["between-kept", "between-again"])
def test_what_is_computed_again_gives_the_same_gradients(
    folders: dict[str, Path], attention: bool, mlp: bool, between: bool
) -> None:
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    fast = fast_model(model)
    assert fast is not None
    fast.attentions[1].keeps, fast.mlps[0].keeps = attention, mlp
    fast.attentions[0].keeps = fast.mlps[1].keeps = False
    fast.mlps[0].keeps_input = fast.mlps[1].keeps_input = between

    assert_same(together(model), expected)


@pytest.mark.parametrize("gates", [True, False], ids=["gates-too", "gates-again"])
def test_what_waits_in_main_memory_comes_back(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, gates: bool
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    away: list[int] = []
    refs: list[weakref.ref[Any]] = []
    out = offload.Offload._out

    def counted(self: offload.Offload, tensor: torch.Tensor, number: int) -> Any:
        away.append(tensor.numel())
        found = out(self, tensor, number)
        refs.append(weakref.ref(found))
        return found

    monkeypatch.setattr(offload.Offload, "_out", counted)
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    assert not away
    fast = fast_model(model)
    assert fast is not None
    plan.keep_what_fits(fast, "offload", sum(LENGTHS))
    assert [mlp.keeps for mlp in fast.mlps] == [True, False]
    fast.mlps[0].keeps = gates

    gc.collect()
    gc.disable()
    try:
        assert_same(together(model), expected)
        # Not by and by: so much memory must be there for the next step.
        assert refs
        assert all(ref() is None for ref in refs)
    finally:
        gc.enable()
    tokens = sum(LENGTHS)
    # Queries, keys, values, what attention makes, and what enters the halves.
    assert {tokens * 128, tokens * 64} <= set(away)
    assert (tokens * (256 + 64) in away) == gates
    # x A' is as wide here.
    assert away.count(tokens * 64) == (13 if gates else 12)


def test_a_weight_is_unpacked_for_a_backward_pass_and_let_go(folders: dict[str, Path]) -> None:
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    plan.keep_what_fits(fast, True, sum(LENGTHS))
    together(model)

    halves = [*fast.attentions, *fast.mlps]
    products = [part for half in halves for part in vars(half).values() if hasattr(part, "_kept")]
    assert len(products) == 8
    assert all(product._kept is None for product in products)


def test_a_weight_that_stays_unpacked_takes_the_adapter_as_it_is_now(
    folders: dict[str, Path],
) -> None:
    """The matrix that is kept has room for A and B, which change at every step."""
    kept, fresh = tuned(folders["qwen2"]), tuned(folders["qwen2"])
    for model in (kept, fresh):
        install(model)
    fast = fast_model(kept)
    assert fast is not None
    for products in fast.products:
        products.keep_matrix(fast.dtype)
    together(kept)
    for model in (kept, fresh):
        with torch.no_grad():
            for weight in trainable(model).values():
                weight.mul_(-0.5)

    assert_same(together(kept), together(fresh))


@pytest.mark.parametrize(
    ("setting", "room", "gates", "attention", "unpacked"),
    [
        pytest.param(True, 10.0, 0, 0, 0, id="asked-to-compute-again"),
        pytest.param(False, 0.0, GATES, ATTENTION, 0, id="asked-to-keep"),
        pytest.param("auto", 0.0, 0, 0, 0, id="no-room"),
        pytest.param("auto", 0.1, 0, 0, 0, id="room-for-what-is-between"),
        pytest.param("auto", 0.5, 1, 0, 0, id="room-for-a-half"),
        pytest.param("auto", 1.000001, GATES, ATTENTION, 0, id="room-for-all-halves"),
        pytest.param("auto", 10.0, GATES, ATTENTION, WEIGHTS, id="room-for-the-weights-too"),
    ],
)
def test_what_is_kept_follows_from_the_memory_that_is_free(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    setting: bool | str,
    room: float,
    gates: int,
    attention: int,
    unpacked: int,
) -> None:
    """`room` is in what all halves want to keep, of so many tokens that weights are as nothing."""
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    tokens, width = 10**6, 4
    kept = sum(half.kept_bytes(width) for half in fast.mlps)
    kept += sum(half.kept_bytes(width) for half in fast.attentions)
    kept += sum(half.gate_up.inputs * width for half in fast.mlps)
    wanted = tokens * kept
    always = plan._always_bytes(fast, tokens)
    monkeypatch.setattr(plan, "free_bytes", lambda: (always + room * wanted) / plan._SHARE)

    plan.keep_what_fits(fast, setting, tokens)
    assert sum(half.keeps for half in fast.mlps) == gates
    assert any(half.keeps_input for half in fast.mlps) == (gates > 0 or room == 0.1)
    assert sum(half.keeps for half in fast.attentions) == attention
    assert sum(products._kept is not None for products in fast.products) == unpacked
    if setting == "auto" and room < 1.5:
        plan.keep_what_fits(fast, setting, tokens, others=plan._SHARE)
        assert not any(half.keeps or half.keeps_input for half in fast.mlps)


def test_the_longest_rows_of_a_pass_count() -> None:
    assert plan.most_tokens([3, 50, 7, 20], 2) == 70
