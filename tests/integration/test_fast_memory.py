"""What the fast layers keep for the backward pass, and what they compute again, by plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl.estimate.host import MAIN_SHARE
from ftctl_trainer.model.fast import plan
from ftctl_trainer.model.fast.documents import documents
from ftctl_trainer.model.fast.main_memory import MainMemory
from ftctl_trainer.model.fast.places import Places
from ftctl_trainer.model.fast.projections import copy_adapters
from ftctl_trainer.model.lora import trainable
from tests.integration.fast_models import (
    LENGTHS,
    MAIN_BYTES,
    assert_same,
    together,
    with_fast_layers,
    with_little_memory,
)

# Halves of the model, and its products.
GATES, ATTENTION, WEIGHTS = 2, 2, 8


@pytest.mark.parametrize("attention", [True, False], ids=["attention-kept", "attention-again"])
@pytest.mark.parametrize("mlp", [True, False], ids=["mlp-kept", "mlp-again"])
@pytest.mark.parametrize("between", [True, False], ids=["between-kept", "between-again"])
def test_what_is_computed_again_gives_the_same_gradients(
    folders: dict[str, Path], attention: bool, mlp: bool, between: bool
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    expected = together(model)
    fast.attentions[1].keeps, fast.mlps[0].keeps = attention, mlp
    fast.attentions[0].keeps = fast.mlps[1].keeps = False
    fast.mlps[0].keeps_input = fast.mlps[1].keeps_input = between

    assert_same(together(model), expected)


@pytest.mark.parametrize("dropout", [0.0, 0.5], ids=["no-dropout", "dropout"])
def test_what_halves_keep_is_what_the_plan_counts(folders: dict[str, Path], dropout: float) -> None:
    _, fast = with_fast_layers(folders["llama"], dropout=dropout)
    attention, mlp = fast.attentions[0], fast.mlps[0]
    copy_adapters(fast.products, fast.dtype)
    tokens = sum(LENGTHS)
    x = torch.randn(tokens, mlp.gate_up.inputs, requires_grad=True)
    places = torch.cat([torch.arange(length) for length in LENGTHS])
    at_attention = attention(x, documents(fast.inner.rotary_emb, places, LENGTHS))
    at_mlp = mlp(x)
    kept = {
        half: sum(
            tensor.untyped_storage().nbytes()
            for tensor in result.grad_fn.saved_tensors[others:]  # type: ignore[union-attr]
        )
        for half, result, others in (("attention", at_attention, 1), ("mlp", at_mlp, 2))
    }
    # A row's sum of exponents is kept on a GPU alone.
    here = attention.kept_bytes(fast.width_bytes) - 4 * attention.heads
    assert kept["attention"] == tokens * here
    assert kept["mlp"] == tokens * mlp.kept_bytes(fast.width_bytes)
    # Without dropout there is room for x A' twice.
    assert mlp.kept_bytes(4) == (2 * 128 + (1 if dropout else 2) * 64) * 4


def test_a_setting_that_offloads_keeps_all_where_there_is_room(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fast = with_fast_layers(folders["llama"])
    monkeypatch.setattr(plan, "free_bytes", lambda: 10**12)
    plan.keep_what_fits(fast, "offload", 1000)

    assert fast.main_memory is None
    assert all(half.keeps for half in fast.attentions)
    assert all(half.keeps for half in fast.mlps)


def test_layers_keep_what_their_places_say(folders: dict[str, Path]) -> None:
    _, fast = with_fast_layers(folders["llama"])
    plan.apply_places(fast, Places(1, 0, 1, 0, 0))

    assert [half.leaves for half in fast.attentions] == [True, False]
    assert [half.leaves for half in fast.mlps] == [True, False]
    assert all(half.keeps for half in fast.attentions)
    assert all(half.keeps_input for half in fast.mlps)
    assert [half.keeps for half in fast.mlps] == [False, True]


def test_processes_share_the_machines_main_memory(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fast = with_fast_layers(folders["llama"])
    tokens = 10**4

    def taken(processes: int) -> int:
        with_little_memory(monkeypatch, fast, tokens, spare=10**7)
        plan.keep_what_fits(fast, "offload", tokens, processes=processes)
        return 0 if fast.main_memory is None else len(fast.main_memory._whole)

    share = MAIN_BYTES * MAIN_SHARE / 2
    assert 0 < taken(processes=2) < share * 1.05 < taken(processes=1)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_setting_that_offloads_sends_away_what_there_is_main_memory_for(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    _, fast = with_fast_layers(folders["llama"])
    tokens = 10**4
    with_little_memory(monkeypatch, fast, tokens, spare=10**7)
    if not pinned:
        monkeypatch.setattr(plan, "_taken", _no_memory)
    plan.keep_what_fits(fast, "offload", tokens)

    assert (fast.main_memory is not None) == pinned
    assert [half.leaves for half in fast.attentions] == [pinned] * 2
    assert [half.keeps for half in fast.attentions] == [pinned] * 2
    if fast.main_memory is not None:
        kept = tokens * sum(half.kept_bytes(4) for half in fast.attentions)
        kept += tokens * sum(half.kept_bytes(4) for half in fast.mlps)
        entering = 2 * 2 * tokens * 64 * 4
        assert len(fast.main_memory._whole) == pytest.approx(kept + entering, rel=0.1)


def _no_memory(*_: Any) -> MainMemory:
    raise RuntimeError("1.0 GiB of main memory cannot be pinned")


def test_a_weight_is_unpacked_for_a_backward_pass_and_let_go(folders: dict[str, Path]) -> None:
    model, fast = with_fast_layers(folders["llama"])
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
    kept, fast = with_fast_layers(folders["qwen2"])
    fresh, _ = with_fast_layers(folders["qwen2"])
    for products in fast.products:
        products.keep_matrix(fast.dtype)
    together(kept)
    for model in (kept, fresh):
        with torch.no_grad():
            for weight in trainable(model).values():
                weight.mul_(-0.5)

    assert_same(together(kept), together(fresh))


def test_a_weight_that_is_packed_again_leaves_no_matrix_behind(folders: dict[str, Path]) -> None:
    model, fast = with_fast_layers(folders["llama"])
    expected = together(model)
    for products in fast.products:
        products.keep_matrix(fast.dtype)
    together(model)
    for products in fast.products:
        products.drop_matrix()
        down, up = products._adapter
        assert down.untyped_storage().nbytes() == down.numel() * down.element_size()
        assert up.untyped_storage().nbytes() == up.numel() * up.element_size()

    assert_same(together(model), expected)


def test_copies_in_another_precision_do_not_pass_for_those_in_the_matrix(
    folders: dict[str, Path],
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    for products in fast.products:
        products.keep_matrix(fast.dtype)
    together(model)
    copy_adapters(fast.products, torch.bfloat16)
    with torch.no_grad():
        for weight in trainable(model).values():
            weight.mul_(-0.5)
    fresh, _ = with_fast_layers(folders["llama"])
    with torch.no_grad():
        for weight in trainable(fresh).values():
            weight.mul_(-0.5)

    assert_same(together(model), together(fresh))


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
    _, fast = with_fast_layers(folders["llama"])
    tokens, width = 10**6, 4
    kept = sum(half.kept_bytes(width) for half in fast.mlps)
    kept += sum(half.kept_bytes(width) for half in fast.attentions)
    kept += sum(half.gate_up.inputs * width for half in fast.mlps)
    wanted = tokens * kept
    always = plan._step_bytes(fast, tokens) + plan._inputs_bytes(fast, tokens)
    monkeypatch.setattr(plan, "free_bytes", lambda: (always + room * wanted) / plan._SHARE)

    plan.keep_what_fits(fast, setting, tokens)
    assert sum(half.keeps for half in fast.mlps) == gates
    assert any(half.keeps_input for half in fast.mlps) == (gates > 0 or room == 0.1)
    assert sum(half.keeps for half in fast.attentions) == attention
    assert sum(products._kept is not None for products in fast.products) == unpacked
    if setting == "auto" and room < 1.5:
        plan.keep_what_fits(fast, setting, tokens, others=plan._SHARE)
        assert not any(half.keeps or half.keeps_input for half in fast.mlps)


def test_a_first_call_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles kernels, which may take longer than all calls that are counted."""
    clock = [0.0]
    calls: list[float] = []

    class Event:
        def record(self) -> None:
            self.at = clock[0]

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: Event) -> float:
            return (end.at - self.at) * 1e3

    def work() -> None:
        calls.append(0.01 if calls else 60.0)
        clock[0] += calls[-1]

    monkeypatch.setattr(plan, "_event", Event)
    assert plan._timed(work) == pytest.approx(0.01)
    # As many as warm a GPU up.
    assert len(calls) > plan._PROBE_S / 0.01
