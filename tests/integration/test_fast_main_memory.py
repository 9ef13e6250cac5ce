"""What waits in main memory for the backward pass: it comes back, and what has no room stays."""

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
from ftctl_trainer.model.fast.install import FastModel
from ftctl_trainer.model.fast.main_memory import MainMemory, Taken
from ftctl_trainer.model.fast.places import Places
from ftctl_trainer.model.labels import label_loss_sum
from tests.integration.fast_models import (
    LENGTHS,
    assert_same,
    backward,
    rows,
    together,
    with_fast_layers,
    with_little_memory,
)


@pytest.fixture(autouse=True)
def small_tensors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the tests' models are not worth a copy to anybody else."""
    monkeypatch.setattr(offload, "_LEAST_BYTES", 1024)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Values of every tensor that asks for main memory, and whether there was room."""
    found: list[tuple[int, bool]] = []
    take = MainMemory.take

    def counted(self: MainMemory, tensor: torch.Tensor) -> Taken | None:
        taken = take(self, tensor)
        found.append((tensor.numel(), taken is not None))
        return taken

    monkeypatch.setattr(MainMemory, "take", counted)
    return found


def placed(fast: FastModel, places: Places, size: int = 2**22) -> MainMemory:
    """Let layers keep what they keep in these places."""
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
    refs: list[weakref.ref[Any]] = []
    saved, get = offload.Offload._save, offload.Offload._get

    def counted(self: offload.Offload, number: int, tensor: torch.Tensor) -> Any:
        found = saved(self, number, tensor)
        refs.append(weakref.ref(found))
        return found

    def given_out(self: offload.Offload, kept: Any) -> torch.Tensor:
        found = get(self, kept)
        # The layer is to be the only one that holds it.
        assert getattr(kept, "here", None) is None
        assert getattr(kept, "there", None) is None
        return found

    model, fast = with_fast_layers(folders["llama"])
    expected = together(model)
    monkeypatch.setattr(offload.Offload, "_save", counted)
    monkeypatch.setattr(offload.Offload, "_get", given_out)
    memory = placed(fast, Places(away, gates, stay, room, 0))

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
    folders: dict[str, Path], asked: list[tuple[int, bool]], gates: int, wide: int
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    placed(fast, Places(2, gates, 0, 0, 0))
    together(model)
    away, tokens = [values for values, _ in asked], sum(LENGTHS)
    # Queries, keys, values, what attention makes, and what enters the halves.
    assert {tokens * 128, tokens * 64} <= set(away)
    assert away.count(tokens * (256 + 64)) == wide
    # x A' is as wide here.
    assert away.count(tokens * 64) == 12 + gates


def test_what_main_memory_has_no_room_for_stays(
    folders: dict[str, Path], asked: list[tuple[int, bool]]
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    expected = together(model)
    placed(fast, Places(2, 2, 0, 0, 0), size=30_000)

    assert_same(together(model), expected)
    assert {room for _, room in asked} == {True, False}


def test_a_second_backward_pass_over_what_was_given_out_is_refused(
    folders: dict[str, Path],
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    placed(fast, Places(2, 0, 0, 0, 0))
    loss = label_loss_sum(model, EndToEndCollator()(rows()))
    torch.autograd.backward([loss], retain_graph=True)
    with pytest.raises(RuntimeError, match="it runs once"):
        torch.autograd.backward([loss])


@pytest.mark.parametrize("room", [0, 5, 100])
def test_the_device_holds_no_more_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Besides a unit that goes out and one that comes back, each of a kibibyte here."""
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
    # A unit's copies out are done while the next is computed, and not waited for before.
    assert max(held) == min(max(room + 1, 2), 12) * 1024
    backward(x.sum())
    wanted = first.detach().requires_grad_()
    again = wanted
    for _ in range(12):
        again = again.sin()
    backward(again.sum())

    assert torch.equal(first.grad, wanted.grad)  # type: ignore[arg-type]
    assert max(held) == min(max(room + 1, 2), 12) * 1024
    assert parts._held <= 1024


def test_all_that_a_plan_sends_away_has_room(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, asked: list[tuple[int, bool]]
) -> None:
    model, fast = with_fast_layers(folders["llama"])
    tokens = sum(LENGTHS)
    with_little_memory(monkeypatch, fast, tokens, spare=0)
    plan.keep_what_fits(fast, "offload", tokens)
    together(model)

    assert all(half.leaves and half.keeps for half in fast.attentions)
    assert all(half.leaves and half.keeps for half in fast.mlps)
    assert {room for _, room in asked} == {True}


def test_each_tensor_begins_where_copies_are_fast() -> None:
    memory = MainMemory(2**14, pinned=False)
    first, second = memory.take(torch.ones(175)), memory.take(torch.ones(3))

    assert first is not None
    assert second is not None
    assert second.tensor.data_ptr() - first.tensor.data_ptr() == 1024


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
