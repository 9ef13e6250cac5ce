"""What a training step keeps for its backward pass, and what it computes again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ftctl_trainer.model.fast.blocks import Attention, Mlp
from ftctl_trainer.model.fast.head import PART_BYTES

if TYPE_CHECKING:
    from ftctl_trainer.model.fast.install import FastModel

_log = logging.getLogger(__name__)

# Of the memory that is free, for what the allocator cannot hand out in pieces of the right size.
_SHARE = 0.93
# Of so many layers one has its gates go out too. An H100 sends 54 GB/s; of 8,192 tokens the layers
# of an 8B llama make 36 GB/s without gates, and 90 with all of them.
_GATES_OUT = 4
# Bytes a trained weight: gradient and AdamW's two moments, float32.
_TRAINED_BYTES = 12


def keep_what_fits(
    fast: FastModel, setting: bool | str, tokens: int, *, others: float = 0.0
) -> None:
    """
    Decide what is kept of every layer besides its input: that of its second half, products.

    Where all is, and there is memory left, the weights stay unpacked too.

    Args:
        setting: training.gradient_checkpointing: true keeps nothing, false all, auto what there
            is memory for; offload keeps in main memory what enters both halves, attention and some
            gates.
        tokens: the most of a forward pass.
        others: share of the free memory that something else than the layers will want.
    """
    halves: list[Mlp | Attention] = [*fast.mlps, *fast.attentions]
    fast.offloads = setting == "offload"
    for attention in fast.attentions:
        attention.keeps = fast.offloads
    for number, mlp in enumerate(fast.mlps):
        mlp.keeps = fast.offloads and number % _GATES_OUT == 0
    for mlp in fast.mlps:
        mlp.keeps_input = setting is False or fast.offloads
    if setting is True or fast.offloads:
        return
    free = free_bytes() * (_SHARE - others) - _always_bytes(fast, tokens)
    for mlp in fast.mlps:
        free -= tokens * mlp.gate_up.inputs * fast.width_bytes
        mlp.keeps_input = free >= 0 or setting is False
    for half in halves:
        free -= tokens * half.kept_bytes(fast.width_bytes)
        half.keeps = free >= 0 or setting is False
    unpacked = 0
    for products in fast.products:
        free -= products.matrix_bytes
        if free >= 0:
            products.keep_matrix(fast.dtype)
            unpacked += 1
    _log.info(
        "up to %s tokens a pass: kept for the backward pass are attention of %d and gates of %d of "
        "%d layers, and %d of %d weights stay unpacked",
        f"{tokens:,}",
        sum(half.keeps for half in fast.attentions),
        sum(half.keeps for half in fast.mlps),
        len(fast.mlps),
        unpacked,
        len(fast.products),
    )


def most_tokens(lengths: Sequence[int], rows: int) -> int:
    """Tokens of a pass of the `rows` longest sequences."""
    return sum(sorted(lengths)[-rows:])


def _always_bytes(fast: FastModel, tokens: int) -> float:
    """What a step takes besides: the inputs of all layers, the largest part at work, the head."""
    width = fast.width_bytes
    mlp = fast.mlps[0]
    hidden, wide = mlp.gate_up.inputs, mlp.gate_up.outputs
    inputs = (len(fast.mlps) + 2) * hidden * width
    at_work = (2 * wide + 5 * hidden) * width
    dense = (mlp.gate_up.inputs + mlp.down.outputs) * wide * width
    trained = sum(weight.numel() for weight in fast.causal.parameters() if weight.requires_grad)
    # Of an output layer that is trained: its half-precision copy, and a part's gradient.
    head = fast.causal.get_output_embeddings()
    dense += sum(2 * width * part.numel() for part in head.parameters() if part.requires_grad)
    step = dense + 2 * PART_BYTES + trained * _TRAINED_BYTES
    return float(tokens * (inputs + at_work) + step)


def free_bytes() -> float:
    """Of the GPU's memory what this process may still take, and what it holds unused."""
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    unused = held - torch.cuda.memory_allocated()
    limit = getattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)() * total
    return float(min(free, max(limit - held, 0)) + unused)
