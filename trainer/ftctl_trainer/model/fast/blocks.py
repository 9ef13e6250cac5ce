"""
The two halves of a decoder layer, each one operation with a backward pass of its own.

The norm, the products and the residual sum of a half are one autograd node: nothing between them
is kept but what the backward pass cannot cheaply make again. It computes the norm and SwiGLU
again in any case (they cost a read of what is kept), and attention's or the gate's products too
where `keeps` is off: so recomputation is chosen for each half of each layer. In a recomputation
the last product of a half, which nothing of the backward pass needs, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function

from ftctl_trainer.model.fast.attention import Attended, attend, attend_backward
from ftctl_trainer.model.fast.ops import ops_for

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.documents import Documents
    from ftctl_trainer.model.fast.projections import Projections


@dataclass
class Norm:
    """A frozen root mean square norm."""

    weight: Tensor
    eps: float


@dataclass
class Attention:
    """x + o(attention(q(norm x), k(norm x), v(norm x)))."""

    norm: Norm
    qkv: Projections
    out: Projections
    heads: int
    kv_heads: int
    scale: float
    keeps: bool = True

    def __call__(self, x: Tensor, rows: Documents) -> Tensor:
        """
        Args:
            x: [T, H].
        Returns:
            [T, H].
        """
        parameters = [*self.qkv.parameters, *self.out.parameters]
        return _apply(_AttentionHalf, x, self, rows, *parameters)

    def kept_bytes(self, width: int) -> int:
        """Bytes a token that `keeps` costs, at `width` bytes a value."""
        values = self.qkv.outputs + self.out.inputs + self.qkv.rank + self.out.rank
        return values * width + 4 * self.heads

    def normed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normed values with room for LoRA's, and 1 / rms of every token."""
        found: tuple[Tensor, Tensor] = ops_for(x).rms_norm(
            x, self.norm.weight, self.norm.eps, self.qkv.spare
        )
        return found

    def attended(
        self, y: Tensor, rows: Documents, drawn: int | None
    ) -> tuple[Tensor, Tensor, Attended]:
        """From normed values to q, k and v, turned, [T, heads, D], x A' of them, and attention."""
        flat, low = self.qkv.forward(y, drawn=drawn)
        qkv = flat.view(len(y), self.heads + 2 * self.kv_heads, -1)
        ops_for(qkv).rotate_(qkv, rows.cos, rows.sin, self.heads + self.kv_heads)
        return qkv, low, attend(*self.split(qkv), rows, self.scale)

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views of q, k and v."""
        q, k, v = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], 1)
        return q, k, v


class _AttentionHalf(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: Attention, rows: Documents, *_: Tensor) -> Tensor:
        y, scale = half.normed(x)
        ctx.drawn = half.qkv.draw(), half.out.draw()
        qkv, low, made = half.attended(y, rows, ctx.drawn[0])
        result, low_out = half.out.forward(made.out.flatten(1), plus=x, drawn=ctx.drawn[1])
        kept = (qkv, low, low_out, made.out, *made.rest) if half.keeps else ()
        ctx.save_for_backward(x, scale, *kept)
        ctx.half, ctx.rows = half, rows
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        half, rows = ctx.half, ctx.rows
        x, scale, *kept = ctx.saved_tensors
        ops = ops_for(x)
        y, _ = half.normed(x)
        if kept:
            qkv, low, low_out, out, *rest = kept
            made = Attended(out, tuple(rest))
        else:
            qkv, low, made = half.attended(y, rows, ctx.drawn[0])
            low_out = half.out.low(made.out.flatten(1), ctx.drawn[1])
        grad = grad.contiguous()
        d_out, grads_out = half.out.backward(grad, made.out.flatten(1), low_out, ctx.drawn[1])
        parts = half.split(qkv)
        d_parts = attend_backward(d_out.view_as(made.out), parts, made, rows, half.scale)
        del d_out, qkv, parts, made
        d_qkv = ops.joined(*d_parts, rows.cos, rows.sin, half.qkv.grad_spare)
        del d_parts
        dy, grads = half.qkv.backward(d_qkv, y, low, ctx.drawn[0])
        dx = ops.rms_norm_backward(dy, x, half.norm.weight, scale, plus=grad)
        return dx, None, None, *grads, *grads_out


@dataclass
class Mlp:
    """x + down(silu(gate(norm x)) * up(norm x))."""

    norm: Norm
    gate_up: Projections
    down: Projections
    keeps: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        """
        Args:
            x: [T, H].
        Returns:
            [T, H].
        """
        return _apply(_MlpHalf, x, self, *self.gate_up.parameters, *self.down.parameters)

    def normed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normed values with room for LoRA's, and 1 / rms of every token."""
        found: tuple[Tensor, Tensor] = ops_for(x).rms_norm(
            x, self.norm.weight, self.norm.eps, self.gate_up.spare
        )
        return found

    def gated(self, y: Tensor, drawn: int | None) -> tuple[Tensor, Tensor]:
        """Gate and rest, with room for the gradient of x A' behind them, and x A'."""
        return self.gate_up.forward(y, spare=self.gate_up.grad_spare, drawn=drawn)

    def kept_bytes(self, width: int) -> int:
        """Bytes a token that `keeps` costs, at `width` bytes a value."""
        return (self.gate_up.outputs + self.gate_up.rank) * width


class _MlpHalf(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: Mlp, *_: Tensor) -> Tensor:
        y, scale = half.normed(x)
        ctx.drawn = half.gate_up.draw(), half.down.draw()
        gate_up, low = half.gated(y, ctx.drawn[0])
        made = ops_for(x).swiglu(gate_up, half.down.inputs, half.down.spare)
        result, low_down = half.down.forward(made, plus=x, drawn=ctx.drawn[1])
        ctx.save_for_backward(x, scale, low_down, *((gate_up, low) if half.keeps else ()))
        ctx.half, ctx.done = half, False
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if ctx.done:
            raise RuntimeError("this backward pass overwrites what is kept for it: it runs once")
        ctx.done = True
        half = ctx.half
        x, scale, low_down, *kept = ctx.saved_tensors
        ops = ops_for(x)
        y, _ = half.normed(x)
        gate_up, low = kept or half.gated(y, ctx.drawn[0])
        grad = grad.contiguous()
        # The gradient of down's A wants its input, which only the next operation makes again.
        d_made, grad_low = half.down.backward_input(
            _with_room(grad, half.down.grad_spare), ctx.drawn[1]
        )
        made = ops.swiglu_backward_(gate_up, d_made)
        del d_made
        grads_down = half.down.backward_parameters(grad, grad_low, made, low_down, ctx.drawn[1])
        del made
        dy, grads = half.gate_up.backward(gate_up, y, low, ctx.drawn[0])
        dx = ops.rms_norm_backward(dy, x, half.norm.weight, scale, plus=grad)
        return dx, None, *grads, *grads_down


def _with_room(grad: Tensor, spare: int) -> Tensor:
    """A copy with columns behind it: what they save of so wide a product is more."""
    if spare == 0:
        return grad
    whole = grad.new_empty(len(grad), grad.shape[1] + spare)
    whole[:, : grad.shape[1]] = grad
    return whole


class RmsNorm(Function):
    """A frozen norm alone: the last one of a model."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Norm) -> Tensor:
        """
        Args:
            x: [T, H].
        """
        y: Tensor
        y, scale = ops_for(x).rms_norm(x, norm.weight, norm.eps)
        ctx.save_for_backward(x, scale)
        ctx.norm = norm
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Return the gradient of x."""
        x, scale = ctx.saved_tensors
        weight = ctx.norm.weight
        return ops_for(x).rms_norm_backward(grad.contiguous(), x, weight, scale, None), None


def final_norm(x: Tensor, norm: Norm) -> Tensor:
    """Norm x, [T, H]."""
    return _apply(RmsNorm, x, norm)


def _apply(function: type[Function], *args: Any) -> Tensor:
    # torch does not type `apply`.
    apply: Callable[..., Tensor] = function.apply
    return apply(*args)
