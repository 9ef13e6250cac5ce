"""Updates that rounding to nearest would lose are kept; all else is left to ggml."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export.readback import worst_block
from ftctl_trainer.export.rounding import keep_update, loses_update

# Steps from zero to a block's largest value.
LEVELS = {Kind.Q4_0: 8, Kind.Q4_1: 8, Kind.Q5_0: 16, Kind.Q5_1: 16, Kind.Q8_0: 127}
KINDS = list(LEVELS)
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def _through(values: np.ndarray, kind: Kind) -> np.ndarray:
    return np.array(gguf.dequantize(gguf.quantize(values, kind), kind))


def _anywhere() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.02, (64, 512)).astype(np.float32)


def _on_grid(kind: Kind) -> np.ndarray:
    return _through(_anywhere(), kind)


def _tuned(base: np.ndarray, kind: Kind, steps: float = 0.05) -> np.ndarray:
    """A low-rank update, of so many steps on average."""
    rng = np.random.default_rng(1)
    update = rng.normal(size=(len(base), 4)) @ rng.normal(size=(4, base.shape[1]))
    step = np.abs(base).reshape(-1, 32).max(axis=1).mean() / LEVELS[kind]
    return (base + update * (steps * step / np.abs(update).mean())).astype(np.float32)


def _kept(stored: np.ndarray, base: np.ndarray, tuned: np.ndarray) -> float:
    """Length of what is left of the update along itself, as a share."""
    update = tuned - base
    return float(((stored - base) * update).sum() / np.square(update).sum())


@EACH_KIND
def test_what_lies_anywhere_is_left_alone(kind: Kind) -> None:
    base = _anywhere()
    tuned = _tuned(base, kind)

    assert not loses_update(tuned, base, kind)
    assert keep_update(tuned, base, kind) is tuned


@EACH_KIND
def test_what_was_not_updated_is_left_alone(kind: Kind) -> None:
    values = _on_grid(kind)

    assert keep_update(values, None, kind) is values
    assert keep_update(values, values.copy(), kind) is values


@pytest.mark.parametrize("kind", [Kind.F16, Kind.Q4_K, Kind.IQ4_NL], ids=lambda kind: kind.name)
def test_types_without_an_even_grid_are_left_to_ggml(kind: Kind) -> None:
    base = _on_grid(Kind.Q4_1)
    tuned = _tuned(base, Kind.Q4_1)

    assert keep_update(tuned, base, kind) is tuned


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q5_1], ids=lambda kind: kind.name)
@pytest.mark.parametrize("steps", [0.02, 0.05, 0.1])
def test_an_update_below_a_step_keeps_its_length(kind: Kind, steps: float) -> None:
    base = _on_grid(kind)
    tuned = _tuned(base, kind, steps)

    assert loses_update(tuned, base, kind)
    assert _kept(_through(tuned, kind), base, tuned) < 0.8
    assert _kept(_through(keep_update(tuned, base, kind), kind), base, tuned) == pytest.approx(
        1, abs=0.1
    )


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q5_1], ids=lambda kind: kind.name)
def test_each_row_keeps_its_own(kind: Kind) -> None:
    base = _on_grid(kind)
    tuned = _tuned(base, kind)
    tuned[: len(base) // 2] = base[: len(base) // 2]

    stored = keep_update(tuned, base, kind)

    np.testing.assert_allclose(stored[: len(base) // 2], base[: len(base) // 2], atol=1e-5)
    rows = [_kept(stored[row], base[row], tuned[row]) for row in range(len(base) // 2, len(base))]
    assert np.abs(np.array(rows) - 1).max() < 0.2


def test_it_adds_less_noise_than_chance_does() -> None:
    base = _on_grid(Kind.Q4_1)
    tuned = _tuned(base, Kind.Q4_1)
    step = np.ptp(tuned.reshape(-1, 32), axis=1, keepdims=True) / 15
    part = np.mod((tuned.reshape(-1, 32) - tuned.reshape(-1, 32).min(1, keepdims=True)) / step, 1)
    by_chance = (part * (1 - part) * np.square(step)).mean()

    error = _through(keep_update(tuned, base, Kind.Q4_1), Kind.Q4_1) - tuned

    assert np.square(error).mean() < 0.6 * by_chance


def test_rows_with_few_steps_to_make_make_them_in_different_columns() -> None:
    """Whole steps of all rows in one column add up, whatever the column's input is."""
    base = _on_grid(Kind.Q4_1)
    update = np.random.default_rng(2).normal(size=base.shape[1]) * np.ones_like(base)
    step = np.ptp(base.reshape(-1, 32), axis=1).mean() / 15
    tuned = base + (0.02 * step * update).astype(np.float32)

    moved = np.abs(keep_update(tuned, base, Kind.Q4_1) - base) > step / 3

    assert moved.sum(axis=1).min() >= 1
    assert moved.mean(axis=0).max() < 0.4


@EACH_KIND
def test_ggml_finds_the_same_values_in_it(kind: Kind) -> None:
    base = _on_grid(kind)
    moved = keep_update(_tuned(base, kind), base, kind)

    np.testing.assert_allclose(_through(moved, kind), moved, atol=np.abs(moved).max() * 1e-3)


@EACH_KIND
def test_it_stays_within_the_bound_that_reading_back_allows(kind: Kind) -> None:
    base = _on_grid(kind)
    tuned = _tuned(base, kind)
    stored = _through(keep_update(tuned, base, kind), kind).reshape(-1)
    further = loses_update(tuned, base, kind)

    assert worst_block(stored, tuned.reshape(-1), kind, rounds_further=further)[0] <= 1
    if kind in (Kind.Q4_1, Kind.Q5_1):
        assert worst_block(stored, tuned.reshape(-1), kind)[0] > 1


def test_the_same_tensor_gives_the_same_values_every_time() -> None:
    base = _on_grid(Kind.Q4_1)
    tuned = _tuned(base, Kind.Q4_1)

    np.testing.assert_array_equal(
        keep_update(tuned, base, Kind.Q4_1), keep_update(tuned.copy(), base.copy(), Kind.Q4_1)
    )


def test_no_value_moves_beyond_the_end_of_the_grid() -> None:
    """Such a value would become the block's largest, and its grid another one."""
    codes = np.tile(np.arange(16.0), 2)
    base = (np.tile(codes, (2, 64)) / 16).astype(np.float32)
    tuned = base + np.float32(0.3 / 16)
    tuned[:, 15::16] = base[:, 15::16]

    moved = keep_update(tuned, base, Kind.Q4_1)

    assert moved.max() == pytest.approx(tuned.max(), rel=1e-4)
    assert moved.min() == pytest.approx(tuned.min(), rel=1e-3)
