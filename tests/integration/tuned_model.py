"""A 4-bit model with adapters that are no longer zero."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ftctl_trainer.model.load import load_quantized
from ftctl_trainer.model.lora import add_lora, trainable

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def tuned(
    folder: Path,
    *,
    dtype: Any = "float32",
    layers: Sequence[str] = SEVEN,
    modules_to_save: Sequence[str] = (),
    dropout: float = 0.0,
    **variants: bool,
) -> Any:
    """The same one every time, ready to be trained."""
    model = add_lora(
        load_quantized(folder, dtype=dtype, use_8bit=False),
        rank=4,
        alpha=8,
        dropout=dropout,
        target_modules=layers,
        modules_to_save=modules_to_save,
        seed=0,
        **variants,
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in trainable(model).items():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=generator)
    return model.train()
