"""The output layer and the loss as one operation, a part of the tokens at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function

from ftctl_trainer.model.fast.ops import ops_for

if TYPE_CHECKING:
    from torch import Tensor

# Bytes of logits that are there at a time. Larger parts are no faster.
PART_BYTES = 2**29
# Whether this PyTorch adds products to what has another dtype.
_WIDER = hasattr(torch.ops.aten.addmm, "dtype_out")


def label_loss(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """
    Sum of the negative log-likelihoods of the targets, nats: float32, a scalar with gradient.

    Logits of all tokens at once would take more memory than the rest of a step, and they are not
    needed: the gradient is computed with the loss, in the same memory.

    Args:
        x: normed hidden values at the places that predict a label, [N, H].
        weight: of the output layer, [V, H]; it may be trained, in another dtype than x.
        targets: int64, [N].
    """
    # torch does not type `apply`.
    apply: Callable[..., Tensor] = _LabelLoss.apply
    return apply(x, weight, targets)


class _LabelLoss(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        trained = ctx.needs_input_grad[1]
        matrix = weight.to(x.dtype)
        dx = torch.empty_like(x)
        d_weight = torch.zeros_like(weight) if trained else None
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        size = max(PART_BYTES // (len(matrix) * x.element_size()), 1)
        for start in range(0, len(x), size):
            part = x[start : start + size]
            logits = part @ matrix.T
            total += ops_for(x).cross_entropy_(logits, targets[start : start + size]).sum()
            torch.mm(logits, matrix, out=dx[start : start + size])
            if d_weight is not None:
                _add_product_(d_weight, logits.T, part)
        # Not among what autograd saves: of so large a matrix there is to be one only, and autograd
        # makes what it is given the weight's gradient where nobody else holds it.
        ctx.found = [dx, d_weight]
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if not ctx.found:
            raise RuntimeError("this backward pass overwrites what is kept for it: it runs once")
        # Not cast to float16, which has no number as large as a gradient scaler's may be.
        found = [None if part is None else part.mul_(grad) for part in ctx.found]
        ctx.found = []
        return (*found, None)


def _add_product_(to: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b to what may be of a wider dtype than they are, in place."""
    if a.dtype == to.dtype or a.device.type != "cuda" or not _WIDER:
        to += a @ b
    else:
        torch.addmm(to, a, b, out_dtype=to.dtype, out=to)
