# mypy: ignore-errors
# ruff: noqa: PLR0913
"""
Causal attention within many short rows, in Triton; the algorithm is that of arXiv:2307.08691.

What is particular: a tile of queries is all heads that share keys, of few tokens, and not one head
of many. So keys and values are read once for the group, their gradients are summed where they
are made, and a row of some hundred tokens has little of a tile beyond its diagonal or its end.
There are no atomic additions: the same inputs give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

# log2(e): the kernels take powers of two.
_LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Shape:
    """Sizes of a kernel: rows of a tile of queries (tokens times heads), tokens of one of keys."""

    queries: int
    keys: int
    warps: int
    stages: int


# Fastest of those tried on an H100 at 32 heads, 8 of keys, 128 wide.
FORWARD = Shape(128, 32, 4, 3)
QUERY_GRADIENT = Shape(128, 64, 8, 3)
KEY_GRADIENT = Shape(64, 64, 4, 2)


def takes(heads: int, kv_heads: int, size: int) -> bool:
    """Whether the kernels are written for such heads of `size` values."""
    return size in (64, 128) and heads % kv_heads == 0 and heads // kv_heads <= 16


def tokens_of(shape: Shape, heads: int, kv_heads: int) -> int:
    """Tokens of a tile of queries."""
    return shape.queries // triton.next_power_of_2(heads // kv_heads)


def forward(
    q: Tensor, k: Tensor, v: Tensor, of_queries: Tensor, scale: float, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """
    Attend.

    Args:
        q: [T, heads, D]; k, v: [T, kv_heads, D]. The last dimension is dense.
        of_queries: `tiles_of` (documents.py) FORWARD's tokens.
        scale: of the scores.
        out: where the result goes, dense; None takes new memory.
    Returns:
        [T, heads, D], and the logarithm to base 2 of the scores' sum of powers, [T, heads].
    """
    total, heads, size = q.shape
    group = heads // k.shape[1]
    out = q.new_empty(total, heads, size) if out is None else out
    logs = torch.empty(total, heads, dtype=torch.float32, device=q.device)
    _forward[(len(of_queries), k.shape[1])](
        q, k, v, out, logs, of_queries, q.stride(0), q.stride(1), k.stride(0), k.stride(1),
        v.stride(0), v.stride(1), heads, scale * _LOG2_E, group, triton.next_power_of_2(group),
        FORWARD.queries, FORWARD.keys, size, num_warps=FORWARD.warps, num_stages=FORWARD.stages,
    )  # fmt: skip
    return out, logs


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, logs: Tensor,
    of_queries: Tensor, of_keys: Tensor, scale: float,
    into: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """
    Return the gradients of q, k and v.

    Args:
        grad: of `out`, dense.
        of_queries, of_keys: `tiles_of` QUERY_GRADIENT's and KEY_GRADIENT's tokens.
        into: where they go, dense; None takes new memory.
    """
    total, heads, size = q.shape
    kv_heads = k.shape[1]
    group = heads // kv_heads
    padded = triton.next_power_of_2(group)
    sums = torch.empty_like(logs)
    _row_sums[(total,)](grad, out, sums, heads, size, triton.next_power_of_2(heads), num_warps=4)
    dq, dk, dv = into or (part.new_empty(part.shape) for part in (q, k, v))
    strides = (q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0), v.stride(1))
    shape = KEY_GRADIENT
    _key_gradient[(len(of_keys), kv_heads)](
        q, k, v, grad, logs, sums, dk, dv, of_keys, *strides, heads, kv_heads,
        scale, scale * _LOG2_E, group, padded, shape.queries, shape.keys, size,
        num_warps=shape.warps, num_stages=shape.stages,
    )  # fmt: skip
    shape = QUERY_GRADIENT
    _query_gradient[(len(of_queries), kv_heads)](
        q, k, v, grad, logs, sums, dq, of_queries, *strides, heads,
        scale, scale * _LOG2_E, group, padded, shape.queries, shape.keys, size,
        num_warps=shape.warps, num_stages=shape.stages,
    )  # fmt: skip
    return dq, dk, dv


@triton.jit
def _forward(
    q_at, k_at, v_at, out_at, logs_at, tiles_at, q_row, q_head, k_row, k_head, v_row, v_head,
    heads, scale, group: tl.constexpr, padded: tl.constexpr, queries: tl.constexpr,
    keys: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    kv = tl.program_id(1)
    first = tl.load(tiles_at + tile * 3)
    end = tl.load(tiles_at + tile * 3 + 1)
    begin = tl.load(tiles_at + tile * 3 + 2)
    lane = tl.arange(0, queries)
    token = begin + lane // padded
    head = kv * group + lane % padded
    live = (token < end) & (lane % padded < group)
    place = tl.arange(0, size)
    at = token.to(tl.int64) * q_row + head * q_head
    q = tl.load(q_at + at[:, None] + place[None, :], mask=live[:, None], other=0.0)
    key = tl.arange(0, keys)
    k_base = k_at + kv * k_head + key[:, None].to(tl.int64) * k_row + place[None, :]
    v_base = v_at + kv * v_head + key[:, None].to(tl.int64) * v_row + place[None, :]
    top = tl.full((queries,), -float("inf"), tl.float32)
    total = tl.zeros((queries,), tl.float32)
    made = tl.zeros((queries, size), tl.float32)
    whole = first + ((begin - first) // keys) * keys
    for start in range(first, whole, keys):
        k = tl.load(k_base + start.to(tl.int64) * k_row)
        scores = tl.dot(q, tl.trans(k)) * scale
        higher = tl.maximum(top, tl.max(scores, 1))
        share = tl.exp2(scores - higher[:, None])
        fix = tl.exp2(top - higher)
        total = total * fix + tl.sum(share, 1)
        v = tl.load(v_base + start.to(tl.int64) * v_row)
        made = tl.dot(share.to(v.dtype), v, made * fix[:, None])
        top = higher
    last = tl.minimum(end, begin + queries // padded)
    for start in range(whole, last, keys):
        inside = (start + key < end)[:, None]
        k = tl.load(k_base + start.to(tl.int64) * k_row, mask=inside, other=0.0)
        scores = tl.dot(q, tl.trans(k)) * scale
        scores = tl.where((start + key)[None, :] <= token[:, None], scores, -float("inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        share = tl.exp2(scores - higher[:, None])
        fix = tl.exp2(top - higher)
        total = total * fix + tl.sum(share, 1)
        v = tl.load(v_base + start.to(tl.int64) * v_row, mask=inside, other=0.0)
        made = tl.dot(share.to(v.dtype), v, made * fix[:, None])
        top = higher
    at = token.to(tl.int64) * heads + head
    tl.store(logs_at + at, top + tl.log2(total), mask=live)
    made = made / total[:, None]
    target = out_at + at[:, None] * size + place[None, :]
    tl.store(target, made.to(out_at.dtype.element_ty), mask=live[:, None])


@triton.jit
def _row_sums(grad_at, out_at, to, heads, size: tl.constexpr, block: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, block)
    at = (token * heads + head)[:, None] * size + tl.arange(0, size)[None, :]
    inside = (head < heads)[:, None]
    grad = tl.load(grad_at + at, mask=inside, other=0.0).to(tl.float32)
    out = tl.load(out_at + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(to + token * heads + head, tl.sum(grad * out, 1), mask=head < heads)


@triton.jit
def _query_gradient(
    q_at, k_at, v_at, grad_at, logs_at, sums_at, to, tiles_at,
    q_row, q_head, k_row, k_head, v_row, v_head, heads, plain_scale, scale,
    group: tl.constexpr, padded: tl.constexpr, queries: tl.constexpr, keys: tl.constexpr,
    size: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    kv = tl.program_id(1)
    first = tl.load(tiles_at + tile * 3)
    end = tl.load(tiles_at + tile * 3 + 1)
    begin = tl.load(tiles_at + tile * 3 + 2)
    lane = tl.arange(0, queries)
    token = begin + lane // padded
    head = kv * group + lane % padded
    live = (token < end) & (lane % padded < group)
    place = tl.arange(0, size)
    at = token.to(tl.int64) * q_row + head * q_head
    q = tl.load(q_at + at[:, None] + place[None, :], mask=live[:, None], other=0.0)
    dense = token.to(tl.int64) * heads + head
    grad = tl.load(grad_at + dense[:, None] * size + place[None, :], mask=live[:, None], other=0.0)
    logs = tl.load(logs_at + dense, mask=live, other=0.0)
    sums = tl.load(sums_at + dense, mask=live, other=0.0)
    key = tl.arange(0, keys)
    k_base = k_at + kv * k_head + key[:, None].to(tl.int64) * k_row + place[None, :]
    v_base = v_at + kv * v_head + key[:, None].to(tl.int64) * v_row + place[None, :]
    made = tl.zeros((queries, size), tl.float32)
    whole = first + ((begin - first) // keys) * keys
    for start in range(first, whole, keys):
        k = tl.load(k_base + start.to(tl.int64) * k_row)
        v = tl.load(v_base + start.to(tl.int64) * v_row)
        share = tl.exp2(tl.dot(q, tl.trans(k)) * scale - logs[:, None])
        slope = share * (tl.dot(grad, tl.trans(v)) - sums[:, None])
        made = tl.dot(slope.to(k.dtype), k, made)
    last = tl.minimum(end, begin + queries // padded)
    for start in range(whole, last, keys):
        inside = (start + key < end)[:, None]
        k = tl.load(k_base + start.to(tl.int64) * k_row, mask=inside, other=0.0)
        v = tl.load(v_base + start.to(tl.int64) * v_row, mask=inside, other=0.0)
        share = tl.exp2(tl.dot(q, tl.trans(k)) * scale - logs[:, None])
        share = tl.where((start + key)[None, :] <= token[:, None], share, 0.0)
        slope = share * (tl.dot(grad, tl.trans(v)) - sums[:, None])
        made = tl.dot(slope.to(k.dtype), k, made)
    target = to + dense[:, None] * size + place[None, :]
    tl.store(target, (made * plain_scale).to(to.dtype.element_ty), mask=live[:, None])


@triton.jit
def _key_gradient(
    q_at, k_at, v_at, grad_at, logs_at, sums_at, dk_at, dv_at, tiles_at,
    q_row, q_head, k_row, k_head, v_row, v_head, heads, kv_heads, plain_scale, scale,
    group: tl.constexpr, padded: tl.constexpr, queries: tl.constexpr, keys: tl.constexpr,
    size: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    kv = tl.program_id(1)
    end = tl.load(tiles_at + tile * 3 + 1)
    begin = tl.load(tiles_at + tile * 3 + 2)
    key = begin + tl.arange(0, keys)
    inside = (key < end)[:, None]
    place = tl.arange(0, size)
    wide = key.to(tl.int64)[:, None]
    k = tl.load(k_at + wide * k_row + kv * k_head + place[None, :], mask=inside, other=0.0)
    v = tl.load(v_at + wide * v_row + kv * v_head + place[None, :], mask=inside, other=0.0)
    lane = tl.arange(0, queries)
    head = kv * group + lane % padded
    dk = tl.zeros((keys, size), tl.float32)
    dv = tl.zeros((keys, size), tl.float32)
    for start in range(begin, end, queries // padded):
        token = start + lane // padded
        live = (token < end) & (lane % padded < group)
        dense = token.to(tl.int64) * heads + head
        at = token.to(tl.int64) * q_row + head * q_head
        q = tl.load(q_at + at[:, None] + place[None, :], mask=live[:, None], other=0.0)
        grad = tl.load(
            grad_at + dense[:, None] * size + place[None, :], mask=live[:, None], other=0.0
        )
        logs = tl.load(logs_at + dense, mask=live, other=0.0)
        sums = tl.load(sums_at + dense, mask=live, other=0.0)
        share = tl.exp2(tl.dot(k, tl.trans(q)) * scale - logs[None, :])
        seen = (key[:, None] <= token[None, :]) & live[None, :]
        share = tl.where(seen, share, 0.0)
        dv = tl.dot(share.to(grad.dtype), grad, dv)
        slope = share * (tl.dot(v, tl.trans(grad)) - sums[None, :])
        dk = tl.dot(slope.to(q.dtype), q, dk)
    target = (wide * kv_heads + kv) * size + place[None, :]
    tl.store(dk_at + target, (dk * plain_scale).to(dk_at.dtype.element_ty), mask=inside)
    tl.store(dv_at + target, dv.to(dv_at.dtype.element_ty), mask=inside)
