"""What a training step keeps for its backward pass, and what it computes again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ftctl.estimate.host import MAIN_SHARE
from ftctl_trainer.data.collator import STRIDE
from ftctl_trainer.model.activations import free_main_memory
from ftctl_trainer.model.fast.blocks import Attention, Mlp
from ftctl_trainer.model.fast.documents import documents
from ftctl_trainer.model.fast.head import PART_BYTES
from ftctl_trainer.model.fast.main_memory import MainMemory
from ftctl_trainer.model.fast.places import Cost, Places, share_out
from ftctl_trainer.model.fast.projections import copy_adapters

if TYPE_CHECKING:
    from ftctl_trainer.model.fast.install import FastModel

_log = logging.getLogger(__name__)

# Of the memory that is free, for what the allocator cannot hand out in pieces of the right size.
_SHARE = 0.95
# The same of any model: workspaces of cuBLAS and cuDNN with it.
_WASTE_BYTES = 0.5 * 2**30
# Bytes a trained weight: gradient and AdamW's two moments, float32.
_TRAINED_BYTES = 12
# Of the time that a forward pass takes by itself, for copies beside it: some of them end later.
_LINK_SHARE = 0.97
# Of a gated half's three products, gate and up.
_GATES_SHARE = 2 / 3
# Bytes copied to see how fast that is; seconds, and times, that something is done to be timed. At
# work a GPU slows down in the first tenths of a second.
_PROBE_BYTES, _PROBE_S, _PROBE_TIMES = 2**26, 0.4, 4


def keep_what_fits(
    fast: FastModel,
    setting: bool | str,
    tokens: int,
    *,
    others: float = 0.0,
    lengths: Sequence[int] = (),
    processes: int = 1,
) -> None:
    """
    Decide what is kept of every layer besides its input: that of its second half, products.

    Where all is, and there is memory left, the weights stay unpacked too.

    Args:
        setting: training.gradient_checkpointing: true keeps nothing, false all, auto what there
            is memory for; offload the same, and in main memory as much of the rest as leaves the
            device while it computes.
        tokens: the most of a forward pass.
        others: share of the free memory that something else than the layers will want.
        lengths: tokens of the rows of such a pass; none: it is one row.
        processes: that share the machine's main memory.
    """
    fast.main_memory = None
    halves: list[Mlp | Attention] = [*fast.mlps, *fast.attentions]
    for half in halves:
        half.keeps = half.leaves = False
    for mlp in fast.mlps:
        mlp.keeps_input = setting is False
    if setting is True:
        return
    free = free_bytes() * (_SHARE - others) - _step_bytes(fast, tokens)
    if setting == "offload" and free < tokens * _kept_bytes(fast):
        _send_away(fast, free, tokens, lengths or [tokens], processes)
        return
    free -= _inputs_bytes(fast, tokens)
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


def apply_places(fast: FastModel, places: Places) -> None:
    """Let every layer keep what it is to keep, and where."""
    fast.room = places.room
    first_that_stays = len(fast.mlps) - places.stay
    for number, (attention, mlp) in enumerate(zip(fast.attentions, fast.mlps, strict=True)):
        leaves, stays = number < places.away, number >= first_that_stays
        attention.leaves = mlp.leaves = leaves
        attention.keeps = mlp.keeps_input = leaves or stays
        mlp.keeps = stays or places.gates_leave(number)


def _send_away(
    fast: FastModel, free: float, tokens: int, lengths: Sequence[int], processes: int
) -> None:
    """Keep on the device, in main memory, or not, by what each costs."""
    cost, link = _measured(fast, tokens, lengths)
    main = free_main_memory() * MAIN_SHARE / processes
    layers = len(fast.mlps)
    places = share_out(layers, cost, device=free, main=main, link=link)
    try:
        fast.main_memory = _taken(fast, places, tokens)
    except RuntimeError as error:
        _log.warning("%s: nothing waits there", error)
        places = share_out(layers, cost, device=free, main=0, link=link)
    apply_places(fast, places)
    _log.info(
        "up to %s tokens a pass: what %d of %d layers keep waits in main memory (%.1f GiB), gates "
        "of %d among it; of %d it stays on the GPU; %d are computed again whole. A layer takes "
        "%.1f ms, and %.1f GB leave meanwhile",
        f"{tokens:,}",
        places.away,
        layers,
        places.main / 2**30,
        places.gates,
        places.stay,
        layers - places.away - places.stay,
        (cost.again_s + cost.gates_s / 2) * 1e3,
        link / layers / 1e9,
    )


def _taken(fast: FastModel, places: Places, tokens: int) -> MainMemory | None:
    """
    Main memory for what is to wait there.

    Raises:
        RuntimeError: it cannot be had.
    """
    if not places.away:
        return None
    # A pass is filled up to a length that others have, and what is handed out has round places.
    size = places.main * (1 + STRIDE / tokens) + places.away * 2**14
    return MainMemory(int(size), pinned=fast.device.type == "cuda")


def _measured(fast: FastModel, tokens: int, lengths: Sequence[int]) -> tuple[Cost, float]:
    """What a layer of a pass costs, and bytes that leave the device in a forward pass's time."""
    width, attention, mlp = fast.width_bytes, fast.attentions[0], fast.mlps[0]
    entering = mlp.gate_up.inputs * width
    rest = 2 * entering + attention.kept_bytes(width) + mlp.down.rank * width
    gates = mlp.kept_bytes(width)
    attention_s, mlp_s, link = _seconds(fast, tokens, lengths)
    gates_s = mlp_s * _GATES_SHARE
    cost = Cost(
        rest=tokens * rest,
        gates=tokens * gates,
        entering=tokens * (entering + mlp.down.rank * width),
        again_s=attention_s + gates_s,
        gates_s=gates_s,
    )
    forward_s = len(fast.mlps) * (attention_s + mlp_s)
    return cost, _LINK_SHARE * forward_s * link


def _seconds(fast: FastModel, tokens: int, lengths: Sequence[int]) -> tuple[float, float, float]:
    """Of both halves of a layer forward; and bytes a second from the device."""
    generator = torch.Generator(fast.device).manual_seed(0)  # training's own is not to move on
    shape = sum(lengths), fast.mlps[0].gate_up.inputs
    share = tokens / sum(lengths)
    x = torch.randn(shape, generator=generator, device=fast.device, dtype=fast.dtype)
    places = [torch.arange(length, device=fast.device) for length in lengths]
    rows = documents(fast.inner.rotary_emb, torch.cat(places), lengths)
    here = x.flatten().view(torch.uint8)[:_PROBE_BYTES]
    there = torch.empty(here.shape, dtype=torch.uint8, pin_memory=True)
    attention, mlp = fast.attentions[0], fast.mlps[0]
    with torch.no_grad():
        copy_adapters(fast.products, fast.dtype)
        return (
            _timed(lambda: attention.forward(x, rows, (None, None))) * share,
            _timed(lambda: mlp.forward(x, (None, None))) * share,
            len(here) / _timed(partial(there.copy_, here, non_blocking=True)),
        )


def _timed(work: Callable[[], object]) -> float:
    """Seconds on the device, once it is as warm as it will be."""
    work()  # kernels are compiled, and chosen, by the first call
    found: list[float] = []
    while sum(found) < _PROBE_S or len(found) < _PROBE_TIMES:
        start, end = (_event() for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end) / 1e3)
    return median(found[len(found) // 2 :])


def _event() -> Any:
    # torch does not type it.
    made: Callable[..., Any] = torch.cuda.Event
    return made(enable_timing=True)


def _kept_bytes(fast: FastModel) -> int:
    """Bytes a token that all layers keep, where each keeps all."""
    width = fast.width_bytes
    inputs = 2 * (len(fast.mlps) + 1) * fast.mlps[0].gate_up.inputs * width
    halves: list[Mlp | Attention] = [*fast.mlps, *fast.attentions]
    return inputs + sum(half.kept_bytes(width) for half in halves)


def _inputs_bytes(fast: FastModel, tokens: int) -> float:
    """What enters every layer."""
    return float(tokens * (len(fast.mlps) + 2) * fast.mlps[0].gate_up.inputs * fast.width_bytes)


def _step_bytes(fast: FastModel, tokens: int) -> float:
    """What a step takes besides: the largest part at work or the head, and what is trained."""
    width, hidden = fast.width_bytes, fast.mlps[0].gate_up.inputs
    trained = sum(weight.numel() for weight in fast.causal.parameters() if weight.requires_grad)
    copies = sum(part.rank * (part.inputs + part.outputs) for part in fast.products) * width
    # Of an output layer that is trained: its half-precision copy, and a part's gradient.
    head = fast.causal.get_output_embeddings()
    dense = sum(2 * width * part.numel() for part in head.parameters() if part.requires_grad)
    at_head = 2 * PART_BYTES + 4 * tokens * hidden * width
    work = max(work_bytes(fast, tokens), float(at_head))
    return float(work + dense + copies + trained * _TRAINED_BYTES + _WASTE_BYTES)


def work_bytes(fast: FastModel, tokens: int) -> float:
    """What the largest part of a layer takes while it is at work."""
    width, mlp = fast.width_bytes, fast.mlps[0]
    hidden, wide = mlp.gate_up.inputs, mlp.gate_up.outputs
    values = tokens * (2 * wide + 5 * hidden) + (hidden + mlp.down.outputs) * wide
    return float(values * width)


def free_bytes() -> float:
    """Of the GPU's memory what this process may still take, and what it holds unused."""
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    unused = held - torch.cuda.memory_allocated()
    limit = getattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)() * total
    return float(min(free, max(limit - held, 0)) + unused)
