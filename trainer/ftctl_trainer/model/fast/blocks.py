"""
A decoder layer's two halves, or all of it, as one operation with a backward pass of its own.

The norm, the products and the residual sum of a half are one autograd node: nothing between them
is kept but what the backward pass cannot cheaply make again. It computes the norm and SwiGLU
again in any case (they cost a read of what is kept), and attention's or the gate's products too
where `keeps` is off: so recomputation is chosen for each half of each layer. In a recomputation
the last product of a half, which nothing of the backward pass needs, is left out. Where not even
what enters the second half is kept, the whole layer is one node, and that product of the first
half is computed again too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function

from ftctl_trainer.model.fast.attention import Attended, attend, attend_backward
from ftctl_trainer.model.fast.ops import ops_for

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.documents import Documents
    from ftctl_trainer.model.fast.offload import Offload
    from ftctl_trainer.model.fast.projections import Projections

# What a pass drops of the inputs of a half's two products, by `Projections.draw`.
_Drawn = tuple[int | None, int | None]


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
    leaves: bool = False
    """What is kept waits in main memory."""

    def __call__(self, x: Tensor, rows: Documents) -> Tensor:
        """
        Args:
            x: [T, H].
        Returns:
            [T, H].
        """
        return _apply(_AttentionHalf, x, self, rows, *self.parameters)

    @property
    def parameters(self) -> list[Tensor]:
        """A and B of all its adapters, as `backward` orders their gradients."""
        return [*self.qkv.parameters, *self.out.parameters]

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

    def draw(self) -> _Drawn:
        """Of both products, by `Projections.draw`."""
        return self.qkv.draw(), self.out.draw()

    def forward(self, x: Tensor, rows: Documents, drawn: _Drawn) -> tuple[Tensor, list[Tensor]]:
        """Return the result, and what `keeps` keeps."""
        y, _ = self.normed(x)
        qkv, low, made = self.attended(y, rows, drawn[0])
        result, low_out = self.out.forward(made.out.flatten(1), plus=x, drawn=drawn[1])
        return result, [qkv, low, low_out, made.out, *made.rest]

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        kept: list[Tensor],
        rows: Documents,
        drawn: _Drawn,
    ) -> tuple[Tensor, list[Tensor]]:
        """
        Return the gradients of x and of `parameters`.

        Args:
            grad: of the result, dense.
            kept: what `forward` returned, and is emptied; or nothing.
        """
        ops = ops_for(x)
        y, scale = self.normed(x)
        if kept:
            qkv, low, low_out, out, *rest = kept
            kept.clear()
            made = Attended(out, tuple(rest))
        else:
            qkv, low, made = self.attended(y, rows, drawn[0])
            low_out = self.out.low(made.out.flatten(1), drawn[1])
        d_out, grads_out = self.out.backward(grad, made.out.flatten(1), low_out, drawn[1])
        parts = self.split(qkv)
        d_parts = attend_backward(d_out.view_as(made.out), parts, made, rows, self.scale)
        del d_out, qkv, parts, made
        d_qkv = ops.joined(*d_parts, rows.cos, rows.sin, self.qkv.grad_spare)
        del d_parts
        dy, grads = self.qkv.backward(d_qkv, y, low, drawn[0])
        dx = ops.rms_norm_backward(dy, x, self.norm.weight, scale, plus=grad)
        return dx, [*grads, *grads_out]


class _AttentionHalf(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: Attention, rows: Documents, *_: Tensor) -> Tensor:
        ctx.half, ctx.rows, ctx.drawn = half, rows, half.draw()
        result, kept = half.forward(x, rows, ctx.drawn)
        ctx.save_for_backward(x, *(kept if half.keeps else ()))
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, *kept = ctx.saved_tensors
        with ctx.half.qkv.unpacked_once():
            dx, grads = ctx.half.backward(grad.contiguous(), x, kept, ctx.rows, ctx.drawn)
        return dx, None, None, *grads


@dataclass
class Mlp:
    """x + down(silu(gate(norm x)) * up(norm x))."""

    norm: Norm
    gate_up: Projections
    down: Projections
    keeps: bool = True
    keeps_input: bool = True
    """What enters it is kept, though nothing else of the layer is."""
    leaves: bool = False
    """What is kept waits in main memory."""

    def __call__(self, x: Tensor) -> Tensor:
        """
        Args:
            x: [T, H].
        Returns:
            [T, H].
        """
        return _apply(_MlpHalf, x, self, *self.parameters)

    @property
    def parameters(self) -> list[Tensor]:
        """A and B of all its adapters, as `backward` orders their gradients."""
        return [*self.gate_up.parameters, *self.down.parameters]

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
        # Gate and up have room behind them: they become their gradient.
        gates = self.gate_up.outputs + self.gate_up.grad_spare
        return (gates + self.gate_up.rank) * width

    def draw(self) -> _Drawn:
        """Of both products, by `Projections.draw`."""
        return self.gate_up.draw(), self.down.draw()

    def forward(self, x: Tensor, drawn: _Drawn) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the result, x A' of down, and what `keeps` keeps."""
        y, _ = self.normed(x)
        gate_up, low = self.gated(y, drawn[0])
        made = ops_for(x).swiglu(gate_up, self.down.inputs, self.down.spare)
        result, low_down = self.down.forward(made, plus=x, drawn=drawn[1])
        return result, low_down, [gate_up, low]

    def backward(
        self, grad: Tensor, x: Tensor, low_down: Tensor, kept: Sequence[Tensor], drawn: _Drawn
    ) -> tuple[Tensor, list[Tensor]]:
        """
        Return the gradients of x and of `parameters`.

        Args:
            grad: of the result, dense.
            kept: what `forward` returned, and is overwritten; or nothing.
        """
        ops = ops_for(x)
        y, scale = self.normed(x)
        gate_up, low = kept or self.gated(y, drawn[0])
        # The gradient of down's A wants its input, which only the next operation makes again.
        d_made, grad_low = self.down.backward_input(
            _with_room(grad, self.down.grad_spare), drawn[1]
        )
        made = ops.swiglu_backward_(gate_up, d_made)
        del d_made
        grads_down = self.down.backward_parameters(grad, grad_low, made, low_down, drawn[1])
        del made
        dy, grads = self.gate_up.backward(gate_up, y, low, drawn[0])
        dx = ops.rms_norm_backward(dy, x, self.norm.weight, scale, plus=grad)
        return dx, [*grads, *grads_down]


class _MlpHalf(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: Mlp, *_: Tensor) -> Tensor:
        ctx.half, ctx.done, ctx.drawn = half, False, half.draw()
        result, low_down, kept = half.forward(x, ctx.drawn)
        ctx.save_for_backward(x, low_down, *(kept if half.keeps else ()))
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if ctx.done:
            raise RuntimeError("this backward pass overwrites what is kept for it: it runs once")
        ctx.done = True
        x, low_down, *kept = ctx.saved_tensors
        with ctx.half.gate_up.unpacked_once():
            dx, grads = ctx.half.backward(grad.contiguous(), x, low_down, kept, ctx.drawn)
        return dx, None, *grads


def decoder_layer(
    x: Tensor, attention: Attention, mlp: Mlp, rows: Documents, offload: Offload | None = None
) -> Tensor:
    """
    Run both halves, as one operation where nothing but x is kept.

    Args:
        x: [T, H].
        offload: takes what the halves keep.
    Returns:
        [T, H].
    """
    if not (attention.keeps or mlp.keeps or mlp.keeps_input):
        return _apply(_Layer, x, attention, mlp, rows, *attention.parameters, *mlp.parameters)
    if offload is None:
        return mlp(attention(x, rows))
    with offload.unit(leaves=attention.leaves):
        x = attention(x, rows)
    with offload.unit(leaves=mlp.leaves):
        return mlp(x)


class _Layer(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, attention: Attention, mlp: Mlp, rows: Documents, *_: Tensor
    ) -> Tensor:
        ctx.halves, ctx.rows = (attention, mlp), rows
        ctx.drawn = attention.draw(), mlp.draw()
        between = attention.forward(x, rows, ctx.drawn[0])[0]
        result, low_down = mlp.forward(between, ctx.drawn[1])[:2]
        ctx.save_for_backward(x, low_down)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, low_down = ctx.saved_tensors
        attention, mlp = ctx.halves
        drawn, drawn_mlp = ctx.drawn
        with attention.qkv.unpacked_once(), attention.out.unpacked_once():
            between, kept = attention.forward(x, ctx.rows, drawn)
            with mlp.gate_up.unpacked_once():
                grad, grads_mlp = mlp.backward(grad.contiguous(), between, low_down, [], drawn_mlp)
            del between
            dx, grads = attention.backward(grad, x, kept, ctx.rows, drawn)
        return dx, None, None, None, *grads, *grads_mlp


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
