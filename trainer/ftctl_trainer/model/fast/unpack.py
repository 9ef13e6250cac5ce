# mypy: ignore-errors
# ruff: noqa: PLR0913
"""
4-bit weights unpacked by Triton: into rows of any stride, or straight to 8-bit floats.

bitsandbytes' own kernel writes 16 or 32 bits, one row behind the other. Layout of its weights
(arXiv:2305.14314): two values a byte, the first in the high half; a largest magnitude for every
64 values, itself in 8 bits, with a code table, a largest magnitude for every 256 of those, and an
offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from bitsandbytes.functional import dequantize_4bit

if TYPE_CHECKING:
    from torch import Tensor

# Values that a program unpacks, and its warps: to half precision, to 8 bits, and turned, where it
# takes a block of each of many rows, so that what lies together where it goes is long. Fastest of
# those tried on an H100.
_HALF, _EIGHT, _TURNED = (1024, 4), (2048, 4), (16384, 8)


def unpack(packed: Tensor, state: Any, out: Tensor) -> None:
    """
    Write a weight, [rows, columns], into `out`, whose rows may be strided.

    Args:
        packed, state: of bitsandbytes' Linear4bit.
    """
    _run(packed, state, out, None, (out.stride(0), 1))


def unpack_float8(packed: Tensor, state: Any, scale: Tensor, out: Tensor) -> None:
    """Write a weight divided by its rows' scales, [rows], as 8-bit floats [rows, columns]."""
    _run(packed, state, out, scale, (out.stride(0), 1))


def unpack_float8_turned(packed: Tensor, state: Any, scale: Tensor, out: Tensor) -> None:
    """Write a weight divided by its columns' scales, turned: 8-bit floats [columns, rows]."""
    _run(packed, state, out, scale, (1, out.stride(0)), turned=True)


def _run(packed, state, out, scale, strides, *, turned=False) -> None:
    rows, columns = state.shape
    size = state.blocksize
    if columns % size:
        _run_plainly(packed, state, out, scale, turned=turned)
        return
    nested = state.nested
    inner = state.state2 if nested else state
    values, warps = _TURNED if turned else _HALF if scale is None else _EIGHT
    blocks = max(values // size, 1)
    a_row = columns // size
    grid = (triton.cdiv(rows, blocks), a_row) if turned else (triton.cdiv(rows * a_row, blocks),)
    _unpack[grid](
        packed, state.absmax, inner.code, inner.absmax,
        state.offset if nested else state.absmax, state.code, out if scale is None else scale, out,
        rows, a_row, strides[0], strides[1], size, inner.blocksize, nested,
        scale is not None, turned, blocks, num_warps=warps,
    )  # fmt: skip


def _run_plainly(packed, state, out, scale, *, turned) -> None:
    """Rows that do not begin with a block of their own."""
    weight = dequantize_4bit(packed, state)
    if scale is None:
        out.copy_(weight)
    elif turned:
        out.copy_((weight / scale).T)
    else:
        out.copy_(weight / scale[:, None])


@triton.jit
def _unpack(
    packed_at, largest_at, inner_code_at, inner_largest_at, offset_at, code_at, scale_at, to,
    rows, a_row, row_stride, column_stride, size: tl.constexpr, inner_size: tl.constexpr,
    nested: tl.constexpr, scaled: tl.constexpr, turned: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    if turned:
        row = (tl.program_id(0) * blocks + tl.arange(0, blocks)).to(tl.int64)
        block = row * a_row + tl.program_id(1)
        start = tl.program_id(1) * size + tl.zeros((blocks,), tl.int32)
    else:
        block = (tl.program_id(0) * blocks + tl.arange(0, blocks)).to(tl.int64)
        row = block // a_row
        start = (block - row * a_row).to(tl.int32) * size
    inside = row < rows
    half: tl.constexpr = size // 2
    place = block[:, None] * half + tl.arange(0, half)[None, :]
    both = tl.load(packed_at + place, mask=inside[:, None], other=0).to(tl.int32)
    if nested:
        number = tl.load(largest_at + block, mask=inside, other=0).to(tl.int32)
        largest = tl.load(inner_code_at + number)
        largest *= tl.load(inner_largest_at + block // inner_size, mask=inside, other=0.0)
        largest += tl.load(offset_at)
    else:
        largest = tl.load(largest_at + block, mask=inside, other=0.0)
    first = tl.load(code_at + (both >> 4)) * largest[:, None]
    second = tl.load(code_at + (both & 15)) * largest[:, None]
    value = tl.interleave(first, second)
    column = start[:, None] + tl.arange(0, size)[None, :]
    if scaled and turned:
        scale = tl.load(scale_at + tl.program_id(1) * size + tl.arange(0, size))
        value *= 1.0 / scale[None, :]
    elif scaled:
        value *= (1.0 / tl.load(scale_at + row, mask=inside, other=1.0))[:, None]
    target = to + row[:, None] * row_stride + column.to(tl.int64) * column_stride
    tl.store(target, value.to(to.dtype.element_ty), mask=inside[:, None])


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """
    Round each row to 8-bit floats (E4M3, arXiv:2209.05433) of a scale of its own.

    Args:
        x: [T, N]; rows may be strided.
    Returns:
        [T, N], and the scales, float32, [T, 1].
    """
    tokens, width = x.shape
    out = torch.empty(tokens, width, dtype=torch.float8_e4m3fn, device=x.device)
    scale = torch.empty(tokens, 1, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(width)
    warps = min(max(block // 1024, 1), 16)
    _quantize_rows[(tokens,)](x, out, scale, x.stride(0), width, block, num_warps=warps)
    return out, scale


@triton.jit
def _quantize_rows(x_at, to, scale_at, stride, width, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    x = tl.load(x_at + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x)) / 448.0, 1e-12)
    tl.store(scale_at + row, scale)
    tl.store(to + row * width + columns, (x * (1.0 / scale)).to(to.dtype.element_ty), mask=inside)
