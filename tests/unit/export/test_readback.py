"""The bounds of each type: what quantizing does stays within, damage does not."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from ftctl_trainer.export.readback import block_size, parts_of_rows, worst_block

ROUNDED = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0]
FLOATS = [Kind.F32, Kind.F16, Kind.BF16]


def _values(shape: str) -> np.ndarray:
    random = np.random.default_rng(0)
    match shape:
        case "normal":
            return random.normal(0, 0.02, (64, 256)).astype(np.float32)
        case "one-sided":
            return random.uniform(3, 4, (64, 256)).astype(np.float32)
        case "outlier":
            values = random.normal(0, 1e-3, (64, 256)).astype(np.float32)
            values[:, ::32] = 1.5
            return values
        case "tiny":
            return random.normal(0, 1e-7, (64, 256)).astype(np.float32)
    return np.zeros((64, 256), np.float32)


def _through(values: np.ndarray, kind: Kind) -> np.ndarray:
    return np.array(gguf.dequantize(gguf.quantize(values, kind), kind))


@pytest.mark.parametrize("kind", [*FLOATS, *ROUNDED], ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", ["normal", "one-sided", "outlier", "tiny", "zero"])
def test_what_a_quantizer_does_is_within_the_bound(kind: Kind, shape: str) -> None:
    values = _values(shape)

    worst, _ = worst_block(_through(values, kind).reshape(-1), values.reshape(-1), kind)

    assert worst <= 1


@pytest.mark.parametrize("kind", [*FLOATS, *ROUNDED], ids=lambda kind: kind.name)
def test_a_negated_block_is_found_by_its_number(kind: Kind) -> None:
    values = _values("normal")
    stored = _through(values, kind).reshape(-1)
    size = gguf.GGML_QUANT_SIZES[kind][0]
    stored[7 * size : 8 * size] *= -1

    worst, block = worst_block(stored, values.reshape(-1), kind)

    assert worst > 1
    assert block == 7


@pytest.mark.parametrize("kind", [*ROUNDED, Kind.Q4_K, Kind.F32], ids=lambda kind: kind.name)
def test_a_value_that_is_not_a_number_is_beyond_any_bound(kind: Kind) -> None:
    values = _values("normal").reshape(-1)
    stored = values.copy()
    stored[300] = np.nan

    assert worst_block(stored, values, kind)[0] > 1


@pytest.mark.parametrize("kind", [Kind.Q2_K, Kind.Q6_K, Kind.IQ4_XS], ids=lambda kind: kind.name)
def test_super_blocks_are_held_by_their_root_mean_square(kind: Kind) -> None:
    values = _values("normal").reshape(-1)
    stored = values.copy()
    stored[256:512] = 0

    worst, block = worst_block(stored, values, kind)

    assert (worst > 1) == (kind != Kind.Q2_K)
    assert block == 1


@pytest.mark.parametrize(
    ("kind", "steps", "found"),
    [
        pytest.param(kind, steps, found, id=f"{kind.name}-{steps}")
        for kind, whole in (
            (Kind.Q4_0, 1),
            (Kind.Q5_0, 1),
            (Kind.Q4_1, 0.5),
            (Kind.Q5_1, 0.5),
            (Kind.Q8_0, 0.5),
        )
        for steps, found in ((0.9 * whole, False), (1.5 * whole, True))
    ],
)
def test_the_bound_is_half_a_step_or_for_the_older_types_a_whole_one(
    kind: Kind, steps: float, found: bool
) -> None:
    values = _values("normal")
    blocks = values.reshape(-1, 32)
    step = {
        Kind.Q4_0: np.abs(blocks[7]).max() / 8,
        Kind.Q5_0: np.abs(blocks[7]).max() / 16,
        Kind.Q4_1: np.ptp(blocks[7]) / 15,
        Kind.Q5_1: np.ptp(blocks[7]) / 31,
        Kind.Q8_0: np.abs(blocks[7]).max() / 127,
    }[kind]
    stored = values.reshape(-1).copy()
    stored[7 * 32 + 3] += steps * step

    worst, block = worst_block(stored, values.reshape(-1), kind)

    assert (worst > 1, block) == (found, 7)


@pytest.mark.parametrize("kind", [Kind.Q8_0, Kind.IQ4_NL, Kind.Q6_K], ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(1, 256), (3000, 256), (3000, 96), (3001, 96), (9, 2**18)])
def test_parts_are_all_rows_in_blocks_as_the_whole_has_them(
    kind: Kind, shape: tuple[int, int]
) -> None:
    rows, columns = shape
    parts = list(parts_of_rows(shape, kind))

    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    sizes = {block_size(kind, (part.stop - part.start) * columns) for part in parts}
    assert sizes == {block_size(kind, rows * columns)}


def test_a_tensor_of_many_rows_is_compared_in_parts_but_for_one_whose_largest_value_counts() -> (
    None
):
    assert len(list(parts_of_rows((3000, 256), Kind.Q8_0))) > 10
    assert len(list(parts_of_rows((3000, 256), Kind.F32))) == 1
