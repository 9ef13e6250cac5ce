"""Models and settings that estimates are tested with."""

from __future__ import annotations

from typing import Any

from ftctl.contract.spec import Config
from ftctl.estimate.architecture import Architecture

GIB = 2**30
# The llama of 8.04B weights that the figures of test_memory.py were measured with, and smaller.
LLAMA_8B = Architecture("llama", 32, 4096, 14336, 32, 8, 128, 129_024)
LLAMA_3B = Architecture("llama", 28, 3072, 8192, 24, 8, 128, 129_024)
LLAMA_1B = Architecture("llama", 16, 2048, 8192, 32, 8, 64, 129_024)
SMOLLM2 = Architecture("llama", 30, 576, 1536, 9, 3, 64, 49_152, tied=True)


def config(**sections: dict[str, Any]) -> Config:
    """A configuration with an adapter only, on one GPU."""
    return Config.model_validate({"model": {"modules_to_save": []}, **sections})
