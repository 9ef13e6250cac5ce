"""Which attention a run computes with, and what packed rows are told apart by."""

from __future__ import annotations

from typing import Any

from ftctl_trainer.model.fast.install import fast_model

_FLASH, _EAGER = "flash_attention_2", "eager"
# Up to so many tokens plain matrix products beat PyTorch's fused kernel on a CPU. Measured, forward
# and backward of 8 rows, 9 heads of 64 in bfloat16, two cores: 65 against 118 ms at 128 tokens,
# 308 against 215 at 256, 14,055 against 2,819 at 1,887.
_SHORT = 192


def choose_attention(asked: str | None, *, packing: bool, dtype: str, longest: int) -> str | None:
    """
    The attention to load a model with; None leaves it to transformers.

    Packed rows take the kernel of variable lengths where it is installed: it computes no score
    between two rows. All others mask them.

    Args:
        asked: model.attn_implementation.
        longest: tokens of the longest sequence that is trained on.
    """
    import torch
    from transformers.utils import is_flash_attn_2_available

    if asked is not None:
        return asked
    if not torch.cuda.is_available():
        return _EAGER if longest <= _SHORT else None
    return _FLASH if packing and dtype != "float32" and is_flash_attn_2_available() else None


def lays_end_to_end(model: Any, *, packing: bool) -> bool:
    """Whether the model's attention wants rows in one line, not in rows that are padded."""
    if fast_model(model) is not None:
        return True
    return packing and str(model.config._attn_implementation).startswith("flash_attention")
