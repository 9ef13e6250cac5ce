"""Which attention a run computes with, and what packed rows are told apart by."""

from __future__ import annotations

from typing import Any

_FLASH = "flash_attention_2"


def choose_attention(asked: str | None, *, packing: bool, dtype: str) -> str | None:
    """
    The attention to load a model with; None leaves it to transformers.

    Packed rows take the kernel of variable lengths where it is installed: it computes no score
    between two rows. All others mask them.
    """
    if asked is not None or not packing or dtype == "float32":
        return asked
    import torch
    from transformers.utils import is_flash_attn_2_available

    return _FLASH if torch.cuda.is_available() and is_flash_attn_2_available() else None


def lays_end_to_end(model: Any) -> bool:
    """Whether the model's attention wants packed rows in one line, not in rows that are padded."""
    return str(model.config._attn_implementation).startswith("flash_attention")
