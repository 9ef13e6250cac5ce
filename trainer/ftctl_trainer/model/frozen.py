"""The frozen weight of a linear layer as a matrix, and which LoRA layers are of the plain kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Weight:
    """Makes a frozen weight, [out, in], in the dtype that is asked for."""

    def __init__(self, layer: Any) -> None:
        """
        Args:
            layer: a Linear4bit, or a frozen Linear.
        """
        self._layer = layer

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        device: torch.device = self._layer.weight.device
        return device

    @property
    def is_packed(self) -> bool:
        """Whether it is stored in 4 bits."""
        from bitsandbytes.nn import Linear4bit

        return isinstance(self._layer, Linear4bit)

    def __call__(self, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
        """
        Args:
            out: where to put it, [out, in] of this dtype; its rows may be strided.
        """
        from bitsandbytes.functional import dequantize_4bit

        weight = self._layer.weight
        if not self.is_packed:
            return weight.data.to(dtype) if out is None else out.copy_(weight.data)
        if out is not None and out.device.type == "cuda":
            from ftctl_trainer.model.fast.unpack import unpack

            unpack(weight.data, self._state, out)
            return out
        dense: Tensor = dequantize_4bit(weight.data, self._state).to(dtype)
        return dense if out is None else out.copy_(dense)

    def float8(self, scale: Tensor, out: Tensor, *, turned: bool) -> None:
        """
        Put it, divided by `scale`, into `out` as 8-bit floats. For weights in 4 bits on a GPU.

        Args:
            scale: of its rows, or of its columns where it is `turned`.
            out: [out, in], or [in, out].
        """
        from ftctl_trainer.model.fast.unpack import unpack_float8, unpack_float8_turned

        write = unpack_float8_turned if turned else unpack_float8
        write(self._layer.weight.data, self._state, scale, out)

    @property
    def _state(self) -> Any:
        # A weight that is split among processes leaves its state with the layer.
        return getattr(self._layer.weight, "quant_state", None) or self._layer.quant_state


def frozen_weight(layer: Any) -> Weight | None:
    """A layer's weight; None where it is trained, or cannot be had as a matrix."""
    from bitsandbytes.nn import Linear4bit

    plain = type(layer) is torch.nn.Linear and not layer.weight.requires_grad
    return Weight(layer) if plain or isinstance(layer, Linear4bit) else None


def lora_dropout(layer: Any) -> torch.nn.Dropout | None:
    """The dropout on the input of a PEFT layer's adapter; None where it has none."""
    found = layer.lora_dropout[layer.active_adapters[0]]
    return found if isinstance(found, torch.nn.Dropout) else None


def has_plain_lora(layer: Any) -> bool:
    """Whether a PEFT layer has one LoRA adapter: no biases, no variant such as DoRA."""
    if len(layer.active_adapters) != 1 or layer.active_adapters[0] not in layer.lora_A:
        return False
    name = layer.active_adapters[0]
    return (
        isinstance(layer.lora_A[name], torch.nn.Linear)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
        and name not in getattr(layer, "lora_variant", {})
    )
