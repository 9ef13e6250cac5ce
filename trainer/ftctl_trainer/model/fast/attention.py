"""
Causal attention within rows that lie end to end, forward and backward.

Short rows go through kernels of our own (short_attention.py), or where those are not written for
the heads through FlashAttention-2 (arXiv:2307.08691) as PyTorch has it. A long row goes to cuDNN's
attention, which is up to twice as fast on a Hopper GPU and newer and knows no rows. PyTorch's two
are called as it calls them itself, so that queries, keys and values need not be copied together
nor keys repeated for groups of heads. On a CPU, and in float32, each row goes through
scaled_dot_product_attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from ftctl_trainer.model.fast.documents import tiles_of

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.documents import Documents, Span

_Three = tuple["Tensor", "Tensor", "Tensor"]

# Values of a head that cuDNN takes.
_CUDNN_MOST = 128
# cuDNN plans anew for every length, in 50 ms: long rows are taken up to a multiple of this.
_STRIDE = 512


@dataclass(frozen=True)
class Attended:
    """What `attend` returns; `attend_backward` needs all of it."""

    out: Tensor
    """[T, heads, D]."""
    rest: tuple[Tensor, ...]
    """Of the kernels' own, one span's behind the other's."""


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
    rest: list[Tensor] = []
    whole = q.new_empty(q.shape) if len(rows.spans) > 1 else None
    for span in rows.spans:
        place = None if whole is None else _cut(whole, span)
        out, *more = (
            _long(q, k, v, span, scale) if _alone(span, q) else _short(q, k, v, span, scale, place)
        )
        _put(out if place is None else place, out)
        rest += more
    return Attended(out if whole is None else whole, tuple(rest))


def attend_backward(
    grad: Tensor, qkv: _Three, made: Attended, rows: Documents, scale: float
) -> _Three:
    """Return the gradients of q, k and v, in their shapes; `grad` is that of `made.out`."""
    q, k, v = qkv
    if not _has_kernel(q):
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in (q, k, v)]
            out = _by_rows(leaves[0], leaves[1], leaves[2], rows, scale)
        dq, dk, dv = torch.autograd.grad(out, leaves, grad)
        return dq, dk, dv
    rest = list(made.rest)
    whole = _like(q, k, v) if len(rows.spans) > 1 else None
    for span in rows.spans:
        count = _kept_of(span, q, k)
        own = Attended(made.out, tuple(rest[:count]))
        del rest[:count]
        places = None if whole is None else _cut_all(whole, span)
        found = (
            _long_backward(grad, q, k, v, own, span, scale)
            if _alone(span, q)
            else _short_backward(grad, q, k, v, own, span, scale, places)
        )
        for place, part in zip(places or found, found, strict=True):
            _put(place, part)
    return found if whole is None else whole


def _like(q: Tensor, k: Tensor, v: Tensor) -> _Three:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _put(place: Tensor, part: Tensor) -> None:
    """Copy a span's part to its place, where it was not made there."""
    if place is not part:
        place.copy_(part)


def _short(
    q: Tensor, k: Tensor, v: Tensor, span: Span, scale: float, place: Tensor | None
) -> tuple[Tensor, ...]:
    from ftctl_trainer.model.fast import short_attention as own

    if own.takes(q.shape[1], k.shape[1], q.shape[2]):
        tiles = _query_tiles(span, q, k, own.FORWARD)
        return own.forward(_cut(q, span), _cut(k, span), _cut(v, span), tiles, scale, place)
    ends, most = _ends(span, q), span.longest
    out, logsumexp, state, unused, _ = torch.ops.aten._flash_attention_forward(
        _cut(q, span),
        _cut(k, span),
        _cut(v, span),
        ends,
        ends,
        most,
        most,
        0.0,
        True,
        False,
        scale=scale,
    )
    return out, logsumexp, state, unused


def _short_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    made: Attended,
    span: Span,
    scale: float,
    places: _Three | None,
) -> _Three:
    from ftctl_trainer.model.fast import short_attention as own

    grad, q, k, v, out = (_cut(part, span) for part in (grad, q, k, v, made.out))
    if own.takes(q.shape[1], k.shape[1], q.shape[2]):
        tiles = _query_tiles(span, q, k, own.QUERY_GRADIENT), _key_tiles(span, q)
        gradients: _Three = own.backward(grad, q, k, v, out, made.rest[0], *tiles, scale, places)
        return gradients
    ends, most = _ends(span, q), span.longest
    logsumexp, state, unused = made.rest
    found: _Three = torch.ops.aten._flash_attention_backward(
        grad, q, k, v, out, logsumexp, ends, ends, most, most, 0.0, True, state, unused,
        scale=scale,
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
    behind = _cut(grad, span)
    if size > span.longest:
        # What lies behind the row must have no gradient; before it nothing sees it.
        behind = torch.nn.functional.pad(behind, (0, 0, 0, 0, 0, size - span.longest))
    behind = behind.transpose(0, 1)[None]
    parts = _upto_stride(span, q, k, v, made.out)
    found = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
        behind, *parts, logsumexp, seed, offset, None, None, None, size, size, 0.0, True,
        scale=scale,
    )  # fmt: skip
    dq, dk, dv = (part[0].transpose(0, 1)[: span.longest] for part in found)
    return dq, dk, dv


def _query_tiles(span: Span, q: Tensor, k: Tensor, shape: Any) -> Tensor:
    from ftctl_trainer.model.fast import short_attention as own

    tokens = own.tokens_of(shape, q.shape[1], k.shape[1])
    make = partial(tiles_of, span.lengths, tokens, ends_first=True)
    return span.once(("queries", tokens), make, q.device)


def _key_tiles(span: Span, q: Tensor) -> Tensor:
    from ftctl_trainer.model.fast import short_attention as own

    make = partial(tiles_of, span.lengths, own.KEY_GRADIENT.keys, ends_first=False)
    return span.once("keys", make, q.device)


def _ends(span: Span, q: Tensor) -> Tensor:
    def make() -> Tensor:
        return torch.tensor([0, *accumulate(span.lengths)], dtype=torch.int32)

    return span.once("ends", make, q.device)


def _cut(part: Tensor, span: Span) -> Tensor:
    return part[span.start : span.end]


def _cut_all(parts: _Three, span: Span) -> _Three:
    return _cut(parts[0], span), _cut(parts[1], span), _cut(parts[2], span)


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
    """Whether cuDNN takes it; its gradients are not the same bits every time."""
    if not span.is_long or q.shape[2] > _CUDNN_MOST:
        return False
    return _has_cudnn(q.device.index or 0) and not torch.are_deterministic_algorithms_enabled()


def _kept_of(span: Span, q: Tensor, k: Tensor) -> int:
    """Tensors of `Attended.rest` that are a span's."""
    from ftctl_trainer.model.fast import short_attention as own

    if not _alone(span, q) and own.takes(q.shape[1], k.shape[1], q.shape[2]):
        return 1
    return 3


@cache
def _has_cudnn(device: int) -> bool:
    major, _ = torch.cuda.get_device_capability(device)
    version = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return major >= 9 and version is not None and version >= 90100


def _has_kernel(q: Tensor) -> bool:
    return q.device.type == "cuda" and q.dtype != torch.float32


def _by_rows(q: Tensor, k: Tensor, v: Tensor, rows: Documents, scale: float) -> Tensor:
    found = []
    sizes = list(rows.lengths)
    for group in zip(*(torch.split(part, sizes) for part in (q, k, v)), strict=True):
        row = [part.transpose(0, 1)[None] for part in group]
        found.append(
            torch.nn.functional.scaled_dot_product_attention(
                row[0], row[1], row[2], is_causal=True, scale=scale, enable_gqa=True
            )[0].transpose(0, 1)
        )
    return torch.cat(found)
