"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ftctl.estimate.architecture import Architecture
from ftctl.estimate.trained import FLOAT32, targeted

# Bytes an attention score that eager attention keeps: twice in half precision, once in float32.
_SCORE_BYTES = 8
# Of ranks, in the fast layers (trainer/ftctl_trainer/model/fast/projections.py).
_ALIGNED = 64
# Of so many layers one has its gates in main memory, as far as they leave an H100 in time.
_GATES_OUT = 3


@dataclass(frozen=True)
class Forward:
    """
    How the layers are computed.

    Attributes:
        number_bytes: of the compute dtype.
        kernels: `plain` is transformers' and PEFT's own code. `fast` are the trainer's own layers
            (trainer/ftctl_trainer/model/fast), which keep no tensor that they can make of another.
        autocast: PEFT's adapters get their input in the compute dtype, not in float32.
        dropout: the adapters' inputs are dropped out, and the masks kept.
        eager: attention scores are kept.
        rank: of the adapters, for fast kernels.
        offloads: what enters the halves of a layer, and attention, waits in main memory.
    """

    number_bytes: int = 2
    kernels: Literal["plain", "fast"] = "plain"
    autocast: bool = True
    dropout: bool = False
    eager: bool = False
    rank: int = 0
    offloads: bool = False


def layer_bytes(
    shape: Architecture, targets: tuple[str, ...], rows: int, length: int, forward: Forward
) -> int:
    """
    Bytes that one layer keeps of `rows` rows of `length` tokens.

    Counted tensor by tensor from the code that runs; a frozen matrix keeps nothing. Held against
    30, 42 and 54 GiB allocated on a GPU for 8,192, 12,288 and 16,384 tokens of a llama of 32 layers
    and 4,096 hidden units (fast), and 20 GB for 8 rows of 1,887 tokens of one of 30 layers and 576
    (plain, on a CPU).
    """
    a_token = _fast(shape, forward) if forward.kernels == "fast" else _plain(shape, forward)
    if forward.kernels == "plain":
        a_token += sum(_adapter_input(item.inputs, forward) for item in targeted(shape, targets))
    if forward.eager:
        a_token += _SCORE_BYTES * shape.heads * length
    return rows * length * a_token


def kept_bytes(
    shape: Architecture,
    targets: tuple[str, ...],
    rows: int,
    length: int,
    forward: Forward,
    *,
    recompute: bool,
) -> int:
    """
    Bytes that all layers keep; with `recompute`, their inputs, and all of the one in work.

    Source: arXiv:1604.06174, with a segment a layer. Of layers that wait in main memory two are
    on the device at least; more stay where there is room (model/fast/places.py there).
    """
    if recompute and forward.kernels == "fast":
        a_layer = shape.hidden + aligned(forward.rank)
        numbers = (shape.layers + 2) * a_layer
        if forward.offloads:
            # What some halves keep, and gates of one layer.
            numbers = 2 * (2 * shape.hidden + _heads(shape) + _lows(forward) + shape.intermediate)
        return rows * length * forward.number_bytes * numbers
    one = layer_bytes(shape, targets, rows, length, forward)
    if not recompute:
        return shape.layers * one
    return shape.layers * rows * length * shape.hidden * forward.number_bytes + one


def working_bytes(shape: Architecture, tokens: int, forward: Forward, *, recompute: bool) -> int:
    """
    Bytes of the fast layer that is at work, beside what is kept: at the gate's gradient.

    Its gradient twice, the norm and what enters the half, the gradient of what down takes in; and
    what is computed again: gate and up, heads.
    """
    numbers = 4 * shape.hidden + shape.intermediate
    if recompute:
        numbers += 2 * shape.intermediate + _heads(shape) + _lows(forward)
    return tokens * forward.number_bytes * numbers


def main_memory_bytes(shape: Architecture, tokens: int, forward: Forward) -> int:
    """
    Bytes that offloaded layers take outside the GPU, where none stays on it.

    Of every layer what enters its halves, the heads and what attention makes, of some the gates.
    The trainer does with less.
    """
    a_layer = 2 * shape.hidden + _heads(shape) + _lows(forward)
    gates = _gates(shape, forward) + aligned(2 * forward.rank)
    numbers = shape.layers * a_layer + -(-shape.layers // _GATES_OUT) * gates
    return tokens * forward.number_bytes * numbers


def aligned(rank: int) -> int:
    """Columns that the fast layers take for adapters of so many rows together."""
    return -(-rank // _ALIGNED) * _ALIGNED


def _fast(shape: Architecture, forward: Forward) -> int:
    """Two norms' inputs; query, key, value and output; gate and up; the adapters' inner values."""
    numbers = 2 * shape.hidden + _heads(shape) + _gates(shape, forward) + _lows(forward)
    return forward.number_bytes * numbers


def _gates(shape: Architecture, forward: Forward) -> int:
    """Numbers a token: gate and up, and without dropout the room behind them for adapters."""
    return 2 * shape.intermediate + (0 if forward.dropout else aligned(2 * forward.rank))


def _lows(forward: Forward) -> int:
    """Numbers a token between A and B: of q, k and v together, o, gate and up together, down."""
    return sum(aligned(members * forward.rank) for members in (3, 1, 2, 1))


def _heads(shape: Architecture) -> int:
    """Numbers a token: query, key, value and output, of as many heads as there are."""
    return 2 * shape.query_size + 2 * shape.kv_size


def _plain(shape: Architecture, forward: Forward) -> int:
    """Two norms' inputs in float32; attention; gate, its activation, and up."""
    norms = 2 * FLOAT32 * shape.hidden
    return norms + forward.number_bytes * (_attention(shape) + _feed_forward(shape))


def _attention(shape: Architecture) -> int:
    """Numbers a token: query, output, and a key and a value for every query head."""
    return 4 * shape.query_size


def _feed_forward(shape: Architecture) -> int:
    width = shape.intermediate * min(shape.experts, shape.active_experts)
    return (3 if shape.gated else 2) * width


def _adapter_input(inputs: int, forward: Forward) -> int:
    """Every adapter casts its own copy of the input, which its first matrix keeps."""
    number_bytes = forward.number_bytes if forward.autocast else FLOAT32
    return inputs * (number_bytes + (1 if forward.dropout else 0))
