"""Values that cling to a type's grid are rounded by chance; others are left to ggml."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export.dither import clings, dithered
from ftctl_trainer.export.readback import worst_block

KINDS = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]


def _through(values: np.ndarray, kind: Kind) -> np.ndarray:
    return np.array(gguf.dequantize(gguf.quantize(values, kind), kind))


def _on_grid(kind: Kind) -> np.ndarray:
    return _through(np.random.default_rng(0).normal(0, 0.02, (256, 256)).astype(np.float32), kind)


def _shifted(kind: Kind) -> np.ndarray:
    """A hundredth of a typical step upwards, in every value."""
    values = _on_grid(kind)
    step = np.abs(values).max() / (127 if kind == Kind.Q8_0 else 8)
    return values + np.float32(step / 100)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_lies_anywhere_is_left_alone(kind: Kind) -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (64, 256)).astype(np.float32)

    assert not clings(values, kind)
    assert dithered(values, kind, "a") is values


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_lies_on_the_grid_stays_where_it_is(kind: Kind) -> None:
    values = _on_grid(kind)

    assert clings(values, kind)
    np.testing.assert_allclose(
        _through(dithered(values, kind, "a"), kind), _through(values, kind), atol=1e-6
    )


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q5_1], ids=lambda kind: kind.name)
def test_a_change_far_below_a_step_is_kept_on_average(kind: Kind) -> None:
    base = _on_grid(kind)
    change = np.zeros_like(base)
    # The ends of a block carry its grid along; within it, one value in four moves.
    change[:, 1::4] = np.abs(base).max() / 400
    tuned = base + change

    kept = (_through(dithered(tuned, kind, "a"), kind) - base)[:, 1::4].mean()
    nearest = (_through(tuned, kind) - base)[:, 1::4].mean()

    wanted = change[:, 1::4].mean()
    assert kept == pytest.approx(wanted, rel=0.3)
    assert abs(kept - wanted) < abs(nearest - wanted)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_stays_within_the_bound_that_reading_back_allows(kind: Kind) -> None:
    values = _shifted(kind)
    stored = _through(dithered(values, kind, "a"), kind)

    worst, _ = worst_block(stored.reshape(-1), values.reshape(-1), kind)

    assert worst <= 1


def test_the_same_tensor_gives_the_same_values_every_time() -> None:
    values = _shifted(Kind.Q4_1)

    np.testing.assert_array_equal(
        dithered(values, Kind.Q4_1, "a"), dithered(values, Kind.Q4_1, "a")
    )


def test_tensors_of_other_names_are_rounded_by_other_chances() -> None:
    values = _shifted(Kind.Q4_1)
    assert not np.array_equal(dithered(values, Kind.Q4_1, "a"), dithered(values, Kind.Q4_1, "b"))


def _blocks(codes: np.ndarray, first: float, last: float) -> np.ndarray:
    """2,048 blocks of sixteenths, whose ends are given: float16 holds such a grid exactly."""
    blocks = np.tile(codes, (2048, 32 // len(codes)))
    blocks[:, 0], blocks[:, -1] = first, last
    return (blocks / 16).astype(np.float32)


@pytest.mark.parametrize("off", [-9e-5, 9e-5], ids=["below", "above"])
def test_what_arithmetic_leaves_beside_the_grid_is_no_change(off: float) -> None:
    codes = np.array([1, 7, 14, 3])
    on_grid = _blocks(codes, 0, 15)
    moved = dithered(_blocks(codes + off, 0, 15), Kind.Q4_1, "a")
    np.testing.assert_array_equal(moved, on_grid)


def test_no_value_moves_beyond_the_end_of_the_grid() -> None:
    """Such a value would become the block's largest, and its grid another one."""
    codes = np.zeros(32)
    codes[5] = 7.6
    moved = dithered(_blocks(codes, -8, 0), Kind.Q4_0, "a")
    assert set(np.unique(moved[:, 5] * 16)) == {7}
    assert set(np.unique(moved[:, 0] * 16)) == {-8}
