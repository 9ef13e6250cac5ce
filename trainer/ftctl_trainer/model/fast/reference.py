"""
The elementwise operations of a layer in plain PyTorch, float32 inside.

`kernels` has the same functions as Triton kernels. These are what they are checked against, and
what computes on a CPU. T is the tokens of a batch, all rows laid end to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float, spare: int = 0) -> tuple[Tensor, Tensor]:
    """
    Root mean square norm (arXiv:1910.07467).

    Args:
        x: [T, H].
        weight: [H].
        spare: columns to leave free behind the values.
    Returns:
        The normed values, [T, H + spare], and 1 / rms of every token, float32, [T].
    """
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1) + eps)
    y = x.new_empty(len(x), x.shape[1] + spare)
    y[:, : x.shape[1]] = wide * scale[:, None] * weight.float()
    return y, scale


def rms_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor, plus: Tensor | None
) -> Tensor:
    """Return the gradient of x, and `plus` added to it: [T, H]. The weight is frozen."""
    unit = x.float() * scale[:, None]
    slope = grad.float() * weight.float()
    result = (slope - unit * (slope * unit).mean(-1, keepdim=True)) * scale[:, None]
    return (result if plus is None else result + plus.float()).to(x.dtype)


def rotate_(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int) -> None:
    """
    Turn the first `heads` heads of every token by its position, in place (arXiv:2104.09864).

    Args:
        qkv: [T, all heads, D]; rows may be strided.
        cos, sin: float32, [T, D / 2].
    """
    part = qkv[:, :heads]
    part.copy_(_turned(part, cos, sin))


def joined(dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor, spare: int = 0) -> Tensor:
    """Gradient of q, k and v before they were turned, side by side: [T, all heads * D + spare]."""
    parts = [part.flatten(1) for part in (_turned(dq, cos, -sin), _turned(dk, cos, -sin), dv)]
    return torch.cat([*parts, dv.new_empty(len(dv), spare)], 1)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)


def dropout(x: Tensor, share: float, drawn: int) -> Tensor:
    """
    Set a share of the values to 0 and scale the others up (arXiv:1207.0580): [T, N].

    Args:
        x: [T, N]; rows may be strided.
        drawn: decides which.
    """
    generator = torch.Generator(x.device).manual_seed(drawn)
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)


def add_dropped_(to: Tensor, x: Tensor, share: float, drawn: int) -> None:
    """Add what `dropout` makes of x, in place."""
    to += dropout(x, share, drawn)


def swiglu(gate_up: Tensor, width: int, spare: int = 0) -> Tensor:
    """SiLU of the gate times the rest (arXiv:2002.05202), [T, width + spare]."""
    gate, up = gate_up[:, : 2 * width].float().chunk(2, -1)
    made = gate_up.new_empty(len(gate_up), width + spare)
    made[:, :width] = torch.nn.functional.silu(gate) * up
    return made


def swiglu_backward_(gate_up: Tensor, grad: Tensor) -> Tensor:
    """
    Put the gradient of gate_up in its place, and into `grad` what `swiglu` had made of it.

    Args:
        gate_up: [T, 2 width + ...].
        grad: [T, width], dense.
    Returns:
        `grad`.
    """
    both = gate_up[:, : 2 * grad.shape[1]]
    gate, up = both.float().chunk(2, -1)
    sigmoid = torch.sigmoid(gate)
    silu, wide = gate * sigmoid, grad.float()
    made = (silu * up).to(gate_up.dtype)
    d_gate = wide * up * (sigmoid + silu * (1 - sigmoid))
    both.copy_(torch.cat([d_gate, wide * silu], -1))
    return grad.copy_(made)


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """
    Negative log-likelihood of every target, nats, float32, [N]; its gradient replaces the logits.

    Args:
        logits: [N, V].
        targets: int64, [N].
    """
    wide = logits.float()
    losses = torch.nn.functional.cross_entropy(wide, targets, reduction="none")
    grad = torch.softmax(wide, -1)
    grad[torch.arange(len(targets), device=targets.device), targets] -= 1
    logits.copy_(grad)
    return losses
