"""What the fast layers keep for the backward pass: there, in main memory, or computed again."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ftctl_trainer.data.collator import EndToEndCollator
from ftctl_trainer.model.fast import main_memory, offload, plan
from ftctl_trainer.model.fast.documents import documents
from ftctl_trainer.model.fast.install import fast_model, install
from ftctl_trainer.model.fast.main_memory import MainMemory, Taken
from ftctl_trainer.model.fast.places import Places
from ftctl_trainer.model.fast.projections import copy_adapters
from ftctl_trainer.model.labels import label_loss_sum
from ftctl_trainer.model.lora import trainable
from tests.integration.fast_models import LENGTHS, assert_same, backward, rows, together
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


def placed(model: Any, places: Places, size: int = 2**22) -> MainMemory:
    """Let a model's layers keep what they keep in these places."""
    fast = fast_model(model)
    assert fast is not None
    fast.main_memory = MainMemory(size, pinned=False)
    plan.apply_places(fast, places)
    return fast.main_memory


@pytest.mark.parametrize("room", [0, 40_000, 10**9])
@pytest.mark.parametrize(
    ("away", "gates", "stay"),
    [
        pytest.param(2, 2, 0, id="all-away"),
        pytest.param(2, 1, 0, id="some-gates-again"),
        pytest.param(1, 0, 1, id="one-stays"),
        pytest.param(1, 1, 0, id="one-again-whole"),
        pytest.param(0, 0, 1, id="none-away"),
    ],
)
def test_what_waits_in_main_memory_comes_back(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    away: int,
    gates: int,
    stay: int,
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    refs: list[weakref.ref[Any]] = []
    saved = offload.Offload._save

    def counted(self: offload.Offload, number: int, tensor: torch.Tensor) -> Any:
        found = saved(self, number, tensor)
        refs.append(weakref.ref(found))
        return found

    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    monkeypatch.setattr(offload.Offload, "_save", counted)
    memory = placed(model, Places(away, gates, stay, room, 0))

    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            assert_same(together(model), expected)
            # Not by and by: so much memory must be there for the next step.
            assert refs
            assert all(ref() is None for ref in refs)
            assert memory._taken == memory._next == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(("gates", "wide"), [(0, 0), (1, 1), (2, 2)])
def test_what_waits_is_what_was_asked_for(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, gates: int, wide: int
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    away: list[int] = []
    take = MainMemory.take

    def counted(self: MainMemory, tensor: torch.Tensor) -> Taken | None:
        away.append(tensor.numel())
        return take(self, tensor)

    monkeypatch.setattr(MainMemory, "take", counted)
    model = tuned(folders["llama"])
    install(model)
    placed(model, Places(2, gates, 0, 0, 0))
    together(model)
    tokens = sum(LENGTHS)
    # Queries, keys, values, what attention makes, and what enters the halves.
    assert {tokens * 128, tokens * 64} <= set(away)
    assert away.count(tokens * (256 + 64)) == wide
    # x A' is as wide here.
    assert away.count(tokens * 64) == 12 + gates


def test_what_main_memory_has_no_room_for_stays(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    model = tuned(folders["llama"])
    install(model)
    expected = together(model)
    found: list[bool] = []
    take = MainMemory.take

    def counted(self: MainMemory, tensor: torch.Tensor) -> Taken | None:
        taken = take(self, tensor)
        found.append(taken is not None)
        return taken

    monkeypatch.setattr(MainMemory, "take", counted)
    placed(model, Places(2, 2, 0, 0, 0), size=30_000)

    assert_same(together(model), expected)
    assert set(found) == {True, False}


def test_a_second_backward_pass_over_what_was_given_out_is_refused(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    model = tuned(folders["llama"])
    install(model)
    placed(model, Places(2, 0, 0, 0, 0))
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    torch.autograd.backward([loss], retain_graph=True)
    with pytest.raises(RuntimeError, match="it runs once"):
        torch.autograd.backward([loss])


@pytest.mark.parametrize("dropout", [0.0, 0.5], ids=["no-dropout", "dropout"])
def test_what_halves_keep_is_what_the_plan_counts(folders: dict[str, Path], dropout: float) -> None:
    model = tuned(folders["llama"], dropout=dropout)
    install(model)
    fast = fast_model(model)
    assert fast is not None
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


@pytest.mark.parametrize("room", [0, 5, 100])
def test_the_device_holds_no_more_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Besides a unit that goes out and one that comes back, each of a kibibyte here."""
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)
    held: list[int] = []
    hold = offload.Offload._hold

    def counted(self: offload.Offload, unit: Any, more: int) -> None:
        hold(self, unit, more)
        held.append(self._held)

    monkeypatch.setattr(offload.Offload, "_hold", counted)
    parts = offload.Offload(MainMemory(2**20, pinned=False), room * 1024)
    x = first = torch.linspace(-1, 1, 256, requires_grad=True)
    for _ in range(12):
        with parts.unit(leaves=True):
            x = x.sin()
    backward(x.sum())
    wanted = first.detach().requires_grad_()
    again = wanted
    for _ in range(12):
        again = again.sin()
    backward(again.sum())

    assert torch.equal(first.grad, wanted.grad)  # type: ignore[arg-type]
    assert max(held) == min(max(room + 1, 2), 12) * 1024
    assert parts._held <= 1024


def test_a_setting_that_offloads_keeps_all_where_there_is_room(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    monkeypatch.setattr(plan, "free_bytes", lambda: 10**12)
    plan.keep_what_fits(fast, "offload", 1000)

    assert fast.main_memory is None
    assert all(half.keeps for half in fast.attentions)
    assert all(half.keeps for half in fast.mlps)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_setting_that_offloads_sends_away_what_there_is_main_memory_for(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    model = tuned(folders["llama"])
    install(model)
    fast = fast_model(model)
    assert fast is not None
    tokens = 10**4
    step = plan._step_bytes(fast, tokens)
    monkeypatch.setattr(plan, "free_bytes", lambda: (step + 10**7) / plan._SHARE)
    monkeypatch.setattr(plan, "free_main_memory", lambda: 10**8)
    monkeypatch.setattr(plan, "_seconds", lambda *_: (1.0, 1.0, 10**9))
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


def test_memory_that_cannot_be_pinned_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA itself is made up: there is none here."""

    runtime = SimpleNamespace(
        cudaError=SimpleNamespace(success=0),
        cudaHostRegister=lambda *_: 2,
        cudaGetErrorString={2: "out of memory"}.get,
    )
    monkeypatch.setattr(main_memory, "_runtime", lambda: runtime)
    monkeypatch.setattr(main_memory, "_forget_error", lambda: None)
    with pytest.raises(RuntimeError, match=r"^0.0 GiB .* cannot be pinned: out of memory$"):
        MainMemory(2**20, pinned=True)


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
