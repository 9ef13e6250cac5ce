# mypy: ignore-errors
# ruff: noqa: PLR0913
"""The elementwise operations of a layer as Triton kernels; `reference` says what each computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

# Elements that a program of an elementwise kernel works on, and of a row that is read in parts.
_BLOCK, _PART = 2048, 8192


def rms_norm(x: Tensor, weight: Tensor, eps: float, spare: int = 0) -> tuple[Tensor, Tensor]:
    y = x.new_empty(len(x), x.shape[1] + spare)
    scale = torch.empty(len(x), dtype=torch.float32, device=x.device)
    width = x.shape[1]
    block = triton.next_power_of_2(width)
    _rms_norm[(len(x),)](
        x, weight, y, scale, eps, width, width + spare, block, num_warps=_warps(block)
    )
    return y, scale


@triton.jit
def _rms_norm(x_at, weight_at, y_at, scale_at, eps, width, stride, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    x = tl.load(x_at + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_at + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x) / width + eps)
    tl.store(scale_at + row, scale)
    tl.store(y_at + row * stride + columns, x * scale * weight, mask=inside)


def rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor, plus: Tensor | None
) -> Tensor:
    result = torch.empty_like(x)
    width = x.shape[1]
    block = triton.next_power_of_2(width)
    added = x if plus is None else plus
    _rms_norm_backward[(len(x),)](
        grad, x, weight, scale, added, result, width, plus is not None, block,
        num_warps=_warps(block),
    )  # fmt: skip
    return result


@triton.jit
def _rms_norm_backward(
    grad_at, x_at, weight_at, scale_at, plus_at, to, width, adds: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    at = row * width + columns
    scale = tl.load(scale_at + row)
    unit = tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32) * scale
    slope = tl.load(grad_at + at, mask=inside, other=0.0).to(tl.float32)
    slope *= tl.load(weight_at + columns, mask=inside, other=0.0).to(tl.float32)
    result = (slope - unit * (tl.sum(slope * unit) / width)) * scale
    if adds:
        result += tl.load(plus_at + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(to + at, result, mask=inside)


def rotate_(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    half = qkv.shape[2] // 2
    _turn[(len(qkv),)](
        qkv, qkv, cos, sin, qkv.stride(0), qkv.stride(1), qkv.stride(0), qkv.stride(1),
        heads, half, 1, triton.next_power_of_2(heads), triton.next_power_of_2(half), num_warps=4,
    )  # fmt: skip


def joined(dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, spare: int = 0) -> Tensor:
    heads = [dq.shape[1], dk.shape[1], dv.shape[1]]
    tokens, _, size = dq.shape
    result = dq.new_empty(tokens, sum(heads) * size + spare)
    start = 0
    for part, count in zip((dq, dk, dv), heads, strict=True):
        target = result[:, start * size : (start + count) * size].unflatten(1, (count, size))
        _turn[(tokens,)](
            part, target, cos, sin, part.stride(0), part.stride(1),
            target.stride(0), target.stride(1), count, size // 2, 0 if part is dv else -1,
            triton.next_power_of_2(count), triton.next_power_of_2(size // 2), num_warps=4,
        )  # fmt: skip
        start += count
    return result


@triton.jit
def _turn(
    source, to, cos_at, sin_at, row_in, head_in, row_out, head_out, heads, half,
    sign: tl.constexpr, head_block: tl.constexpr, half_block: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, head_block)[:, None]
    place = tl.arange(0, half_block)[None, :]
    inside = (head < heads) & (place < half)
    at = source + token * row_in + head * head_in + place
    first = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(at + half, mask=inside, other=0.0).to(tl.float32)
    if sign != 0:
        cos = tl.load(cos_at + token * half + place, mask=place < half, other=0.0)
        sin = tl.load(sin_at + token * half + place, mask=place < half, other=0.0) * sign
        turned = first * cos - second * sin
        second = second * cos + first * sin
        first = turned
    at = to + token * row_out + head * head_out + place
    tl.store(at, first, mask=inside)
    tl.store(at + half, second, mask=inside)


def dropout(x: Tensor, share: float, drawn: int) -> Tensor:
    out = x.new_empty(x.shape)
    _run_dropout(x, out, share, drawn, adds=False)
    return out


def add_dropped_(to: Tensor, x: Tensor, share: float, drawn: int) -> None:
    _run_dropout(x, to, share, drawn, adds=True)


def _run_dropout(x: Tensor, to: Tensor, share: float, drawn: int, *, adds: bool) -> None:
    tokens, width = x.shape
    _dropout[(tokens, triton.cdiv(width, _BLOCK))](
        x, to, x.stride(0), to.stride(0), width, share, drawn, adds, _BLOCK, num_warps=8
    )


@triton.jit
def _dropout(
    x_at, to, stride, stride_out, width, share, drawn, adds: tl.constexpr, block: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    x = tl.load(x_at + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    kept = tl.rand(drawn, row * width + columns) >= share
    x = tl.where(kept, x / (1.0 - share), 0.0)
    at = to + row * stride_out + columns
    if adds:
        x += tl.load(at, mask=inside, other=0.0).to(tl.float32)
    tl.store(at, x, mask=inside)


def swiglu(gate_up: Tensor, width: int, spare: int = 0) -> Tensor:
    tokens = len(gate_up)
    made = gate_up.new_empty(tokens, width + spare)
    _swiglu[(tokens, triton.cdiv(width, _BLOCK))](
        gate_up, made, gate_up.stride(0), width + spare, width, _BLOCK, num_warps=8
    )
    return made


@triton.jit
def _swiglu(gate_up_at, to, stride, stride_out, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    at = gate_up_at + row * stride + columns
    gate = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(at + width, mask=inside, other=0.0).to(tl.float32)
    tl.store(to + row * stride_out + columns, gate * tl.sigmoid(gate) * up, mask=inside)


def swiglu_backward_(gate_up: Tensor, grad: Tensor) -> Tensor:
    tokens, width = grad.shape
    _swiglu_backward[(tokens, triton.cdiv(width, _BLOCK))](
        gate_up, grad, gate_up.stride(0), width, _BLOCK, num_warps=8
    )
    return grad


@triton.jit
def _swiglu_backward(gate_up_at, grad_at, stride, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    at = gate_up_at + row * stride + columns
    target = grad_at + row * width + columns
    gate = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(at + width, mask=inside, other=0.0).to(tl.float32)
    grad = tl.load(target, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(gate)
    silu = gate * sigmoid
    tl.store(target, silu * up, mask=inside)
    tl.store(at, grad * up * (sigmoid + silu * (1 - sigmoid)), mask=inside)
    tl.store(at + width, grad * silu, mask=inside)


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    _cross_entropy[(len(logits),)](
        logits, targets, losses, logits.stride(0), logits.shape[1], _PART, num_warps=16
    )
    return losses


@triton.jit
def _cross_entropy(logits_at, targets_at, losses_at, stride, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = logits_at + row * stride
    target = tl.load(targets_at + row)
    aimed = tl.load(start + target).to(tl.float32)
    largest = -float("inf")
    total = 0.0
    for first in range(0, width, block):
        columns = first + tl.arange(0, block)
        part = tl.load(start + columns, mask=columns < width, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(largest, tl.max(part))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(part - higher))
        largest = higher
    tl.store(losses_at + row, tl.log(total) + largest - aimed)
    for first in range(0, width, block):
        columns = first + tl.arange(0, block)
        inside = columns < width
        part = tl.load(start + columns, mask=inside, other=-float("inf")).to(tl.float32)
        share = tl.exp(part - largest) / total
        tl.store(start + columns, tl.where(columns == target, share - 1.0, share), mask=inside)


def _warps(block: int) -> int:
    return min(max(block // 512, 1), 16)
