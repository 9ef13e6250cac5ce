"""Tensors in blocks: whole ones, rows of large ones, stacks part by part."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export import blocks as module
from ftctl_trainer.export import llama_cpp, tensors
from ftctl_trainer.export.blocks import Base, Block, blocks, side_by_side
from ftctl_trainer.export.tensors import Array, Tensor, by_rows

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


def _never() -> Array:
    raise AssertionError("read as a whole")


def test_a_tensor_without_rows_is_one_block_and_knows_its_base() -> None:
    tensor = Tensor("a", (6, 4), lambda: VALUES, lambda: VALUES - 1)

    (block,) = blocks(tensor, with_base=True)
    (plain,) = blocks(tensor, with_base=False)

    assert block.base is not None
    np.testing.assert_array_equal(block.values - block.base.read(), np.ones_like(VALUES))
    assert plain.base is None


def test_a_tensor_with_rows_is_never_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "BLOCK_VALUES", 8)
    monkeypatch.setattr(module, "_BLOCKS_AT_ONCE", 2)
    tensor = Tensor(
        "a",
        (6, 4),
        _never,
        _never,
        rows=lambda begin, end: VALUES[begin:end] + 1,
        base_rows=lambda begin, end: VALUES[begin:end],
    )

    found = list(blocks(tensor, with_base=True))

    assert [(block.first_row, len(block.values)) for block in found] == [(0, 4), (4, 2)]
    np.testing.assert_array_equal(np.concatenate([block.values for block in found]), VALUES + 1)
    bases = [block.base.read() for block in found if block.base]
    np.testing.assert_array_equal(np.concatenate(bases), VALUES)


def test_a_tensor_whose_base_cannot_be_cut_is_read_as_a_whole_where_it_is_wanted() -> None:
    tensor = Tensor("a", (6, 4), lambda: VALUES, lambda: VALUES, lambda begin, end: VALUES[:1])

    assert [len(block.values) for block in blocks(tensor, with_base=True)] == [6]


def test_a_stack_is_read_part_by_part() -> None:
    part = Tensor("a", (6, 4), lambda: VALUES)
    changed = replace(part, load=lambda: VALUES + 1, base=lambda: VALUES)
    stack = Tensor("b", (2, 6, 4), _never, _never, parts=(part, changed))

    first, second = blocks(stack, with_base=True)

    assert (first.first_row, second.first_row) == (0, 6)
    assert first.base is None
    assert second.base is not None
    np.testing.assert_array_equal(second.base.read(), VALUES)


def test_a_vector_is_one_row() -> None:
    (block,) = blocks(Tensor("a", (4,), lambda: VALUES[0]), with_base=False)

    assert block.values.shape == (1, 4)


def test_side_by_side_uses_every_item_and_no_more_at_once_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_BYTES", 10)
    running, most, done = 0, 0, []
    lock = threading.Lock()

    def use(item: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
            done.append(item)

    side_by_side(use, ((number, 5) for number in range(20)), threads=8)

    assert sorted(done) == list(range(20))
    assert most == 2

    most = 0
    side_by_side(use, ((number, 11) for number in range(3)), threads=8)
    assert most == 1, "larger than all that may be there: alone"


def test_side_by_side_raises_what_the_first_item_failed_of() -> None:
    def use(item: int) -> None:
        if item in (3, 7):
            raise ValueError(item)

    with pytest.raises(ValueError, match=r"^3$"):
        side_by_side(use, ((number, 1) for number in range(10)), threads=4)


def test_a_block_counts_with_what_it_was_before() -> None:
    assert Block(0, VALUES, None).nbytes == VALUES.nbytes
    base = Base(VALUES[:1], lambda: VALUES)
    assert Block(0, VALUES, base).nbytes == 2 * VALUES.nbytes


@pytest.mark.parametrize("on_grid", [True, False])
def test_all_of_a_base_is_read_where_its_first_rows_lose_their_update(
    monkeypatch: pytest.MonkeyPatch, on_grid: bool
) -> None:
    monkeypatch.setattr(module, "_LOOKED_AT", 2**14)
    random = np.random.default_rng(2)
    base = random.normal(size=(1024, 256)).astype(np.float32)
    if on_grid:
        base = gguf.dequantize(llama_cpp.quantize(base, int(Kind.Q4_1), 1), Kind.Q4_1)
    tuned = base + random.normal(scale=0.01, size=base.shape).astype(np.float32)
    asked = []

    def base_rows(begin: int, end: int) -> Array:
        asked.append((begin, end))
        return base[begin:end]

    tensor = by_rows("a", base.shape, lambda begin, end: tuned[begin:end], base_rows)
    (block,) = blocks(tensor, with_base=True)
    lost = block.base_if_lost(Kind.Q4_1)

    assert (lost is not None) == on_grid
    if lost is not None:
        np.testing.assert_array_equal(lost, base)
    assert asked == [(0, 64), (0, 1024)][: 1 + on_grid]
    # Several types of one file ask for it.
    block.base_if_lost(Kind.Q4_1)
    assert len(asked) == 1 + on_grid
    assert block.base_if_lost(Kind.Q8_0) is None
