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

if TYPE_CHECKING:
    from torch import Tensor


def unpack(packed: Tensor, state: Any, out: Tensor) -> None:
    """
    Write a weight, [rows, columns], into `out`, whose rows may be strided.

    Args:
        packed, state: of bitsandbytes' Linear4bit.
    """
    rows, columns = state.shape
    _run(packed, state, out, None, (out.stride(0), 1), (4, 1024), rows, columns)


def unpack_float8(packed: Tensor, state: Any, scale: Tensor, out: Tensor) -> None:
    """Write a weight divided by its rows' scales, [rows], as 8-bit floats [rows, columns]."""
    rows, columns = state.shape
    _run(packed, state, out, scale, (out.stride(0), 1), (4, 1024), rows, columns, by_row=True)


def unpack_float8_turned(packed: Tensor, state: Any, scale: Tensor, out: Tensor) -> None:
    """Write a weight divided by its columns' scales, turned: 8-bit floats [columns, rows]."""
    rows, columns = state.shape
    _run(packed, state, out, scale, (1, out.stride(0)), (64, 128), rows, columns)


def _run(packed, state, out, scale, strides, tile, rows, columns, *, by_row=False) -> None:
    nested = state.nested
    inner = state.state2 if nested else state
    _unpack[(triton.cdiv(rows, tile[0]), triton.cdiv(columns, tile[1]))](
        packed, state.absmax, inner.code, inner.absmax,
        state.offset if nested else state.absmax, state.code, out if scale is None else scale, out,
        rows, columns, strides[0], strides[1], state.blocksize, inner.blocksize,
        nested, 0 if scale is None else 1 if by_row else 2, tile[0], tile[1], num_warps=8,
    )  # fmt: skip


@triton.jit
def _unpack(
    packed_at, largest_at, inner_code_at, inner_largest_at, offset_at, code_at, scale_at, to,
    rows, columns, row_stride, column_stride, size: tl.constexpr, inner_size: tl.constexpr,
    nested: tl.constexpr, scaled: tl.constexpr, row_tile: tl.constexpr, column_tile: tl.constexpr,
):  # fmt: skip
    row = (tl.program_id(0) * row_tile + tl.arange(0, row_tile)).to(tl.int64)[:, None]
    pair = (tl.program_id(1) * (column_tile // 2) + tl.arange(0, column_tile // 2))[None, :]
    inside = (row < rows) & (pair * 2 < columns)
    at = row * columns + pair * 2
    both = tl.load(packed_at + at // 2, mask=inside, other=0).to(tl.int32)
    block = at // size
    if nested:
        number = tl.load(largest_at + block, mask=inside, other=0).to(tl.int32)
        largest = tl.load(inner_code_at + number)
        largest *= tl.load(inner_largest_at + block // inner_size, mask=inside, other=0.0)
        largest += tl.load(offset_at)
    else:
        largest = tl.load(largest_at + block, mask=inside, other=0.0)
    first = tl.load(code_at + (both >> 4)) * largest
    second = tl.load(code_at + (both & 15)) * largest
    value = tl.interleave(first, second)
    column = (tl.program_id(1) * column_tile + tl.arange(0, column_tile))[None, :]
    inside = (row < rows) & (column < columns)
    if scaled == 1:
        value *= 1.0 / tl.load(scale_at + row, mask=row < rows, other=1.0)
    if scaled == 2:
        value *= 1.0 / tl.load(scale_at + column, mask=column < columns, other=1.0)
    target = to + row * row_stride + column.to(tl.int64) * column_stride
    tl.store(target, value.to(to.dtype.element_ty), mask=inside)


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
