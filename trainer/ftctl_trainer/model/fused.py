"""
LoRA on a frozen linear layer as one operation with a backward pass of its own.

PEFT computes y = x W' + s (x A') B' as a chain of small operations: it copies the base's output,
casts the input to the adapter's float32 and lets autocast cast it back, scales, adds, and keeps
an activation for each. Here the update is added into the base's output in place, and all that is
kept is the input and x A'. W is dequantized twice a step, as before, and never kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function

from ftctl_trainer.model.frozen import Weight, frozen_weight, has_plain_lora, lora_dropout

if TYPE_CHECKING:
    from torch import Tensor

_log = logging.getLogger(__name__)


def fuse_lora(model: Any) -> int:
    """
    Give every LoRA layer that this is written for the fused forward; return how many.

    Layers with dropout, DoRA, biases of their own or several adapters keep PEFT's, as do 8-bit
    layers. The model computes the same function, up to rounding.
    """
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in model.modules() if isinstance(layer, LoraLayer)]
    fused = 0
    for layer in layers:
        weight = frozen_weight(layer.get_base_layer())
        plain = has_plain_lora(layer) and lora_dropout(layer) is None
        if weight is not None and plain:
            layer.forward = partial(_forward, layer, layer.forward, weight)
            fused += 1
    if fused < len(layers):
        _log.info("%d of %d LoRA layers keep PEFT's own forward", len(layers) - fused, len(layers))
    return fused


def _forward(layer: Any, plain: Callable[..., Tensor], weight: Weight, x: Tensor) -> Tensor:
    """Replaces `LoraLayer.forward`; what a training step does not ask for stays PEFT's."""
    if layer.disable_adapters or layer.merged or not torch.is_grad_enabled():
        return plain(x)
    name = layer.active_adapters[0]
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    bias = layer.get_base_layer().bias
    # torch does not type `apply`.
    apply: Callable[..., Tensor] = LoraLinear.apply
    return apply(x.to(dtype), a, b, layer.scaling[name], weight, bias)


class LoraLinear(Function):
    """
    y = x W' + s (x A') B' + bias, and the gradients of x, A and B.

    Source: arXiv:2106.09685, section 4.1. Products are computed in the dtype of x; the gradients
    of A and B come out in their own.

    Args of `apply`:
        x: input, [..., in].
        a: down projection, [r, in].
        b: up projection, [out, r].
        scale: alpha / r, or alpha / sqrt(r).
        weight: gives the frozen weight, [out, in].
        bias: [out], or None.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, weight: Weight, bias: Any
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        frozen = weight(x.dtype)
        low = flat @ a.to(x.dtype).T
        y = flat @ frozen.T if bias is None else torch.addmm(bias.to(x.dtype), flat, frozen.T)
        y.addmm_(low, (b * scale).to(x.dtype).T)
        ctx.save_for_backward(flat, low, a, b)
        ctx.scale, ctx.weight, ctx.shape = scale, weight, x.shape
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        flat, low, a, b = ctx.saved_tensors
        dtype = flat.dtype
        g = grad.reshape(-1, grad.shape[-1]).to(dtype)
        grad_low = g @ (b * ctx.scale).to(dtype)
        grad_a = (grad_low.T @ flat).to(a.dtype) if ctx.needs_input_grad[1] else None
        grad_b = (g.T @ low).to(b.dtype).mul_(ctx.scale) if ctx.needs_input_grad[2] else None
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = g @ ctx.weight(dtype)
            grad_x = grad_x.addmm_(grad_low, a.to(dtype)).view(ctx.shape)
        return grad_x, grad_a, grad_b, None, None, None
