"""Linear layers that share an input, each frozen with LoRA on it or without, as one product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ftctl_trainer.model.fast.float8 import Float8
from ftctl_trainer.model.fast.ops import ops_for
from ftctl_trainer.model.frozen import frozen_weight, has_plain_lora, lora_dropout

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.frozen import Weight


# Columns: rows of half precision then begin at multiples of 128 bytes. Where they do not, the large
# products are a tenth slower on an H100.
_ALIGNED = 64


class Projections:
    """
    y = x W' + s (x A') B' + bias of several layers side by side (arXiv:2106.09685, section 4.1).

    Their weights are dequantized into one matrix, their A lie one above the other, their B along a
    diagonal: one large product instead of several. The small second product of LoRA is part of the
    large one too where the input leaves room for x A' behind its columns, as `spare` says: B then
    stands behind the columns of W, and in the backward pass A below its rows. By itself that
    product would read and write all of y for the little that it adds.

    Where the adapters have dropout, layers that share an input share what is dropped of it.
    """

    def __init__(self, layers: Sequence[Any]) -> None:
        """
        Args:
            layers: PEFT LoRA layers or frozen linear ones.
        Raises:
            ValueError: one of them is of a kind that this is not written for.
        """
        self.weights: list[Weight] = []
        self.widths: list[int] = []
        self.float8: Float8 | None = None
        self._dropouts: list[torch.nn.Dropout | None] = []
        self._members: list[tuple[int, Any, Any, float]] = []
        biases = []
        for number, layer in enumerate(layers):
            base = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
            weight = frozen_weight(base)
            if weight is None:
                raise ValueError(f"{type(base).__name__} is no frozen layer")
            if base is not layer:
                if not has_plain_lora(layer):
                    raise ValueError("LoRA with biases or a variant of its own")
                self._dropouts.append(lora_dropout(layer))
                name = layer.active_adapters[0]
                a, b = layer.lora_A[name], layer.lora_B[name]
                self._members.append((number, a, b, layer.scaling[name]))
            self.weights.append(weight)
            self.widths.append(base.out_features)
            biases.append(base.bias)
        self.inputs = int(base.in_features)
        self.outputs = sum(self.widths)
        ranks = sum(int(a.weight.shape[0]) for _, a, _, _ in self._members)
        self.rank = -(-ranks // _ALIGNED) * _ALIGNED
        """Of all members together, up to a multiple of _ALIGNED."""
        self._copies: tuple[Tensor, Tensor] | None = None
        self._places = self._diagonal()
        given = [bias for bias in biases if bias is not None]
        if given and len(given) < len(biases):
            raise ValueError("some of the layers have a bias and others have none")
        self._bias = torch.cat([bias.detach() for bias in given]) if given else None
        self._kept: Tensor | None = None
        self._home: Tensor | None = None
        """The matrix that the copies lie in, where there is one."""
        self._holds = False
        self.bare = False
        """Whether a pass without gradients leaves the adapters out."""

    @property
    def spare(self) -> int:
        """Columns to leave free behind an input."""
        return 0 if self.float8 or self.bare else self.rank

    @property
    def grad_spare(self) -> int:
        """Columns to leave free behind a gradient of the output."""
        return 0 if self._drops > 0 else self.spare

    @property
    def _drops(self) -> float:
        """Share of the adapters' input that this pass drops."""
        found = next((dropout for dropout in self._dropouts if dropout is not None), None)
        return found.p if found is not None and found.training else 0.0

    def draw(self) -> int | None:
        """Draw what a pass drops, by torch's generator: a number to repeat it by, or None."""
        drops = self._drops > 0 and not self.bare
        return int(torch.randint(2**31 - 1, ())) if drops else None

    @property
    def parameters(self) -> list[Tensor]:
        """A and B of every layer that has them."""
        return [part for _, a, b, _ in self._members for part in (a.weight, b.weight)]

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the dequantized matrix in half precision, or in both orders of 8-bit floats."""
        return (self.outputs + self.rank) * (self.inputs + self.rank) * 2

    def use_float8(self) -> None:
        """
        Multiply with the frozen weights in 8-bit floats.

        Raises:
            ValueError: the weights are not in 4 bits, or not of sizes that the products take.
        """
        if any(width % 16 for width in (self.inputs, *self.widths)):
            raise ValueError("8-bit products take sizes that are multiples of 16")
        if not all(weight.is_packed for weight in self.weights):
            raise ValueError("8-bit products are for a base in 4 bits")
        self.float8 = Float8(self.weights, self.widths, self.inputs)

    def keep_matrix(self, dtype: torch.dtype) -> None:
        """Dequantize once and for all."""
        if self.float8 is not None:
            self.float8.keep()
            return
        matrix = self._matrix(dtype)
        down, up = matrix[self.outputs :, : self.inputs], matrix[: self.outputs, self.inputs :]
        if self._copies is None:
            self._copies = torch.zeros_like(down), torch.zeros_like(up)
        down.copy_(self._copies[0])
        up.copy_(self._copies[1])
        self._kept, self._home, self._copies = matrix, matrix, (down, up)

    @property
    def stays_packed(self) -> bool:
        """Whether each product dequantizes its weights anew."""
        return self.float8 is None and self._kept is None

    def drop_matrix(self) -> None:
        """Undo `keep_matrix` of half precision."""
        if self._copies is not None:
            self._copies = self._copies[0].clone(), self._copies[1].clone()
        self._kept = self._home = None

    @contextmanager
    def unpacked_once(self) -> Iterator[None]:
        """Let the first product within it leave the dequantized matrix to those that follow."""
        kept, self._holds = self._kept, True
        try:
            yield
        finally:
            self._kept, self._holds = kept, False

    def forward(
        self, x: Tensor, plus: Tensor | None = None, *, spare: int = 0, drawn: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """
        Multiply.

        Args:
            x: [T, in], or [T, in + spare] with room for x A'.
            plus: [T, out], added to the product.
            spare: columns to leave free behind y; none with 8-bit products.
            drawn: by `draw`.
        Returns:
            y, [T, out + spare], and x A', [T, rank], which `backward` needs.
        """
        if self._bias is not None:
            bias = self._bias.to(x.dtype)
            plus = bias if plus is None else plus + bias
        inputs = x[:, : self.inputs]
        if self.bare:
            return self._frozen(inputs, plus), x.new_empty(len(x), 0)
        down, up = self._adapter
        low = self._dropped(inputs, drawn) @ down.T
        if self.float8 is not None:
            y = self.float8.forward(inputs).addmm_(low, up.T)
            return y if plus is None else y.add_(plus), low
        whole = x.new_empty(len(x), self.outputs + spare)
        y = whole[:, : self.outputs]
        matrix = self._matrix(x.dtype)
        if x.shape[1] > self.inputs:
            x[:, self.inputs :] = low
            if matrix is not self._home:
                matrix[: self.outputs, self.inputs :] = up
            _product(x, matrix[: self.outputs].T, plus, y)
        else:
            _product(x, matrix[: self.outputs, : self.inputs].T, plus, y)
            y.addmm_(low, up.T)
        return whole, low

    def _frozen(self, x: Tensor, plus: Tensor | None) -> Tensor:
        """x W' + plus."""
        if self.float8 is not None:
            y = self.float8.forward(x)
            return y if plus is None else y.add_(plus)
        y = x.new_empty(len(x), self.outputs)
        _product(x, self._matrix(x.dtype)[: self.outputs, : self.inputs].T, plus, y)
        return y

    def low(self, x: Tensor, drawn: int | None = None) -> Tensor:
        """Only x A'."""
        return self._dropped(x[:, : self.inputs], drawn) @ self._adapter[0].T

    def backward(
        self, grad: Tensor, x: Tensor, low: Tensor, drawn: int | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients of x, [T, in], and, in their own dtype, of `parameters`."""
        dx, grad_low = self.backward_input(grad, drawn)
        return dx, self.backward_parameters(grad, grad_low, x, low, drawn)

    def backward_input(self, grad: Tensor, drawn: int | None = None) -> tuple[Tensor, Tensor]:
        """
        Return the gradients of x and of x A'.

        Args:
            grad: [T, out], or [T, out + grad_spare] with room for the gradient of x A'.
            drawn: what the forward pass was given.
        """
        down, up = self._adapter
        own = grad[:, : self.outputs]
        grad_low = own @ up
        if grad.shape[1] > self.outputs:
            matrix = self._matrix(grad.dtype)
            grad[:, self.outputs :] = grad_low
            if matrix is not self._home:
                matrix[self.outputs :, : self.inputs] = down
            return grad @ matrix[:, : self.inputs], grad_low
        if self.float8 is not None:
            dx = self.float8.backward(own)
        else:
            dx = own @ self._matrix(grad.dtype)[: self.outputs, : self.inputs]
        if drawn is None:
            return dx.addmm_(grad_low, down), grad_low
        ops_for(dx).add_dropped_(dx, grad_low @ down, self._drops, drawn)
        return dx, grad_low

    def backward_parameters(
        self,
        grad: Tensor,
        grad_low: Tensor,
        x: Tensor,
        low: Tensor,
        drawn: int | None = None,
    ) -> list[Tensor]:
        """Return the gradients of `parameters`, in their own dtype."""
        d_down = grad_low.T @ self._dropped(x[:, : self.inputs], drawn)
        d_up = grad[:, : self.outputs].T @ low
        found = []
        for out, rank, a, b, scale in self._places:
            found.append(d_down[rank].to(a.weight.dtype))
            found.append(d_up[out, rank].to(b.weight.dtype).mul_(scale))
        return found

    def _dropped(self, x: Tensor, drawn: int | None) -> Tensor:
        if drawn is None:
            return x
        dropped: Tensor = ops_for(x).dropout(x, self._drops, drawn)
        return dropped

    def _matrix(self, dtype: torch.dtype) -> Tensor:
        """All weights, one below the other, with room for B and A: [out + rank, in + rank]."""
        if self._kept is not None and self._kept.dtype == dtype:
            return self._kept
        rank, device = self.rank, self.weights[0].device
        shape = (self.outputs + rank, self.inputs + rank)
        matrix = torch.empty(shape, dtype=dtype, device=device)
        start = 0
        for weight, width in zip(self.weights, self.widths, strict=True):
            weight(dtype, matrix[start : start + width, : self.inputs])
            start += width
        if self._holds:
            self._kept = matrix
        return matrix

    @property
    def _adapter(self) -> tuple[Tensor, Tensor]:
        """The A of all members, [rank, in], and their scaled B on a diagonal, [out, rank]."""
        assert self._copies is not None, "copy_adapters comes first"
        return self._copies

    def places(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor, Tensor, Tensor, float]]:
        """Of every member A and where it goes, B and where it goes, and the scale of B."""
        if self._copies is None or self._copies[0].dtype != dtype:
            device = self.weights[0].device
            self._copies = (
                torch.zeros(self.rank, self.inputs, dtype=dtype, device=device),
                torch.zeros(self.outputs, self.rank, dtype=dtype, device=device),
            )
            self._home = None
        down, up = self._copies
        return [
            (a.weight.detach(), down[rank], b.weight.detach(), up[out, rank], scale)
            for out, rank, a, b, scale in self._places
        ]

    def _diagonal(self) -> list[tuple[slice, slice, Any, Any, float]]:
        """Of every member the rows of W and of A that are its own, with A, B and the scale."""
        found, rank = [], 0
        for number, a, b, scale in self._members:
            start = sum(self.widths[:number])
            size = a.weight.shape[0]
            found.append(
                (slice(start, start + self.widths[number]), slice(rank, rank + size), a, b, scale)
            )
            rank += size
        return found


def copy_adapters(products: Sequence[Projections], dtype: torch.dtype) -> None:
    """
    Let products take their adapters as they are now, in the dtype that they compute in.

    All at once: a pass asks for each three times, and by themselves the many small copies take
    longer to start than they run.
    """
    found = [place for part in products for place in part.places(dtype)]
    if not found:
        return
    a, to_a, b, to_b, scales = map(list, zip(*found, strict=True))
    torch._foreach_copy_(to_a, a)
    torch._foreach_copy_(to_b, torch._foreach_mul(b, scales))


def _product(x: Tensor, weight: Tensor, plus: Tensor | None, out: Tensor) -> None:
    if plus is None:
        torch.mm(x, weight, out=out)
    else:
        torch.addmm(plus, x, weight, out=out)
