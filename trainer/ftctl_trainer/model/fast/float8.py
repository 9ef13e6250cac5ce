"""The products with frozen weights in 8-bit floats, each row of a factor with its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.frozen import Weight

_TYPE = torch.float8_e4m3fn
_LARGEST = 448.0


class Float8:
    """
    x W' and its gradient of x, with W from 4 bits straight to 8 (E4M3, arXiv:2209.05433).

    Scales of W's rows, and of its columns for the backward pass, are found once: W is frozen.
    """

    def __init__(self, weights: Sequence[Weight], widths: Sequence[int], inputs: int) -> None:
        """
        Args:
            weights: [out, in] each, on a GPU; they lie one below the other.
            widths: their rows.
        """
        self._weights, self._widths, self._inputs = list(weights), list(widths), inputs
        rows, columns = [], None
        for weight in weights:
            size = weight(torch.bfloat16).abs()
            rows.append(size.amax(1).float())
            column = size.amax(0).float()
            columns = column if columns is None else torch.maximum(columns, column)
        self._rows = (torch.cat(rows) / _LARGEST).clamp(min=1e-12)
        assert columns is not None
        self._columns = (columns / _LARGEST).clamp(min=1e-12)
        self._kept: tuple[Tensor, Tensor] | None = None

    def keep(self) -> None:
        """Hold W in both orders, two bytes a value."""
        self._kept = (self._straight(), self._turned())

    def forward(self, x: Tensor) -> Tensor:
        """Return x W', [T, out], of x, [T, in]."""
        weight = self._straight() if self._kept is None else self._kept[0]
        return _product(x, weight, self._rows, x.dtype)

    def backward(self, grad: Tensor) -> Tensor:
        """Return the gradient of x, [T, in], for that of x W', [T, out]."""
        weight = self._turned() if self._kept is None else self._kept[1]
        return _product(grad, weight, self._columns, grad.dtype)

    def _straight(self) -> Tensor:
        rows = sum(self._widths)
        out = torch.empty(rows, self._inputs, dtype=_TYPE, device=self._rows.device)
        start = 0
        for weight, width in zip(self._weights, self._widths, strict=True):
            part = slice(start, start + width)
            weight.float8(self._rows[part], out[part], turned=False)
            start += width
        return out

    def _turned(self) -> Tensor:
        rows = sum(self._widths)
        out = torch.empty(self._inputs, rows, dtype=_TYPE, device=self._rows.device)
        start = 0
        for weight, width in zip(self._weights, self._widths, strict=True):
            weight.float8(self._columns, out[:, start : start + width], turned=True)
            start += width
        return out


def _product(x: Tensor, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    from ftctl_trainer.model.fast.unpack import quantize_rows

    rounded, own = quantize_rows(x)
    return torch._scaled_mm(
        rounded, weight.T, scale_a=own, scale_b=scale[None], out_dtype=dtype, use_fast_accum=True
    )
