"""
Causal attention within rows that lie end to end, forward and backward, by PyTorch's own kernels.

Short rows share a call of FlashAttention-2 (arXiv:2307.08691) as PyTorch has it; a long one goes
to cuDNN's attention, which is up to twice as fast on a Hopper GPU and newer and knows no rows. Both
are called as PyTorch calls them itself, so that queries, keys and values need not be copied
together nor keys repeated for groups of heads. On a CPU, and in float32, each row goes through
scaled_dot_product_attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.documents import Documents, Span

_Three = tuple["Tensor", "Tensor", "Tensor"]

# cuDNN plans anew for every length, in 50 ms: long rows are taken up to a multiple of this.
_STRIDE = 512


@dataclass(frozen=True)
class Attended:
    """What `attend` returns; `attend_backward` needs all of it."""

    out: Tensor
    """[T, heads, D]."""
    rest: tuple[Tensor, ...]
    """Of the kernels' own, three of every span."""


def attend(q: Tensor, k: Tensor, v: Tensor, rows: Documents, scale: float) -> Attended:
    """
    Attend within rows.

    Args:
        q: [T, heads, D]; k, v: [T, heads or a divisor of them, D]. The last dimension is dense.
        scale: of the scores.
    """
    if not _has_kernel(q):
        with torch.no_grad():
            return Attended(_by_rows(q, k, v, rows, scale), ())
    outs, rest = [], []
    for span in rows.spans:
        out, *more = (_long if _alone(span, q) else _short)(q, k, v, span, scale)
        outs.append(out)
        rest += more
    return Attended(outs[0] if len(outs) == 1 else torch.cat(outs), tuple(rest))


def attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, made: Attended, rows: Documents, scale: float
) -> _Three:
    """Return the gradients of q, k and v, in their shapes; `grad` is that of `made.out`."""
    if not _has_kernel(q):
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in (q, k, v)]
            out = _by_rows(leaves[0], leaves[1], leaves[2], rows, scale)
        dq, dk, dv = torch.autograd.grad(out, leaves, grad)
        return dq, dk, dv
    parts = []
    for number, span in enumerate(rows.spans):
        back = _long_backward if _alone(span, q) else _short_backward
        own = made.rest[3 * number : 3 * number + 3]
        parts.append(back(grad, q, k, v, Attended(made.out, own), span, scale))
    if len(parts) == 1:
        return parts[0]
    dq, dk, dv = (torch.cat(column) for column in zip(*parts, strict=True))
    return dq, dk, dv


def _short(q: Tensor, k: Tensor, v: Tensor, span: Span, scale: float) -> tuple[Tensor, ...]:
    ends, most = _ends(span, q), span.longest
    out, logsumexp, state, unused, _ = torch.ops.aten._flash_attention_forward(
        *_cut(span, q, k, v), ends, ends, most, most, 0.0, True, False, scale=scale
    )
    return out, logsumexp, state, unused


def _short_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, made: Attended, span: Span, scale: float
) -> _Three:
    ends, most = _ends(span, q), span.longest
    logsumexp, state, unused = made.rest
    found: _Three = torch.ops.aten._flash_attention_backward(
        *_cut(span, grad, q, k, v, made.out), logsumexp, ends, ends, most, most,
        0.0, True, state, unused, scale=scale,
    )  # fmt: skip
    return found


def _long(q: Tensor, k: Tensor, v: Tensor, span: Span, scale: float) -> tuple[Tensor, ...]:
    parts = _upto_stride(span, q, k, v)
    out, logsumexp, _, _, _, _, seed, offset, _ = (
        torch.ops.aten._scaled_dot_product_cudnn_attention(
            *parts, None, True, 0.0, True, False, scale=scale
        )
    )
    return out[0].transpose(0, 1)[: span.longest], logsumexp, seed, offset


def _long_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, made: Attended, span: Span, scale: float
) -> _Three:
    logsumexp, seed, offset = made.rest
    size = _upto(span)
    # What lies behind the row must have no gradient; before it nothing sees it.
    behind = grad.new_zeros(1, grad.shape[1], size, grad.shape[2])
    behind[0, :, : span.longest] = grad[span.start : span.end].transpose(0, 1)
    parts = _upto_stride(span, q, k, v, made.out)
    found = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        behind, *parts, logsumexp, seed, offset, None, None, None, size, size, 0.0, True,
        scale=scale,
    )  # fmt: skip
    dq, dk, dv = (part[0].transpose(0, 1)[: span.longest] for part in found)
    return dq, dk, dv


def _ends(span: Span, q: Tensor) -> Tensor:
    if span.ends is not None:
        return span.ends
    return torch.tensor([0, span.longest], dtype=torch.int32, device=q.device)


def _cut(span: Span, *parts: Tensor) -> list[Tensor]:
    return [part[span.start : span.end] for part in parts]


def _upto(span: Span) -> int:
    return -(-span.longest // _STRIDE) * _STRIDE


def _upto_stride(span: Span, *parts: Tensor) -> list[Tensor]:
    """A long row and what lies behind it, unseen by causal attention: [1, heads, tokens, D]."""
    end = span.start + _upto(span)
    cut = [part[span.start : end] for part in parts]
    missing = end - len(parts[0])
    if missing > 0:
        cut = [torch.nn.functional.pad(part, (0, 0, 0, 0, 0, missing)) for part in cut]
    return [part.transpose(0, 1)[None] for part in cut]


def _alone(span: Span, q: Tensor) -> bool:
    return span.ends is None and _has_cudnn(q.device.index or 0) and q.shape[2] <= _CUDNN_MOST


_CUDNN_MOST = 128


@cache
def _has_cudnn(device: int) -> bool:
    major, _ = torch.cuda.get_device_capability(device)
    version = torch.backends.cudnn.version()
    return major >= 9 and version is not None and version >= 90100


def _has_kernel(q: Tensor) -> bool:
    return q.device.type == "cuda" and q.dtype != torch.float32


def _by_rows(q: Tensor, k: Tensor, v: Tensor, rows: Documents, scale: float) -> Tensor:
    found = []
    for group in zip(*(part.split(rows.lengths) for part in (q, k, v)), strict=True):
        row = [part.transpose(0, 1)[None] for part in group]
        found.append(
            torch.nn.functional.scaled_dot_product_attention(
                row[0], row[1], row[2], is_causal=True, scale=scale, enable_gqa=True
            )[0].transpose(0, 1)
        )
    return torch.cat(found)
