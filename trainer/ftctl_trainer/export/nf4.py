"""A base as QLoRA trains on it: linear layers rounded to NF4 with double quantization."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from pydantic import Field

from ftctl.contract.spec import Dtype
from ftctl.contract.status import Stored
from ftctl.errors import ConfigError, RunFailedError
from ftctl_trainer.export.tensors import Array, Tensor

# The defaults of bitsandbytes' Linear4bit, which transformers does not change.
_BLOCK = 64


class Nf4(Stored):
    """What was quantized in training."""

    dtype: Dtype = Field(description="what the layers computed in: they were rounded to it first")
    modules: list[str] = Field(description="paths of the quantized layers")


def check_nf4() -> None:
    """Raise ConfigError where bitsandbytes is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "bitsandbytes, which rounds the base as in training, is not installed here",
            where="quantize.merge_base",
            hint="Install ftctl[convert] there, or set quantize.merge_base=full.",
        )


def rounded(tensors: dict[str, Tensor], nf4: Nf4) -> dict[str, Tensor]:
    """
    Replace the weights of the quantized layers by what NF4 made of them.

    Raises:
        RunFailedError: a layer is not in the base.
    """
    names = [f"{module}.weight" for module in nf4.modules]
    if missing := [name for name in names if name not in tensors]:
        raise RunFailedError(
            f"{missing[0]} was quantized in training, and the base's files have no such tensor",
            where="quantize.merge_base",
            hint="Set quantize.merge_base=full.",
        )
    return tensors | {name: _rounded(tensors[name], nf4.dtype) for name in names}


def _rounded(tensor: Tensor, dtype: Dtype) -> Tensor:
    def load() -> Array:
        import torch
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        values = torch.from_numpy(tensor.load()).to(getattr(torch, dtype))
        packed, state = quantize_4bit(
            values, blocksize=_BLOCK, compress_statistics=True, quant_type="nf4"
        )
        found: Array = dequantize_4bit(packed, state).float().numpy()
        return found.reshape(tensor.shape)

    # The scales of all blocks are quantized together: no row can be had without the others.
    return replace(tensor, load=load, rows=None, base_rows=None)
