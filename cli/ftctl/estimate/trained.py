"""What is trained: the adapter's weights, whole layers beside them, and their optimizer's state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftctl.contract.spec import ModelConfig
from ftctl.estimate.architecture import Architecture, Linear

FLOAT32 = 4
# Bytes of state a trained weight, in float32, by the optimizer's family. AdamW has two moments
# (arXiv:1711.05101), AdEMAMix three (arXiv:2409.03137), Lion one (arXiv:2302.06675); Adafactor
# keeps a row and a column of each matrix (arXiv:1804.04235).
_STATES = {"ademamix": 12, "adamw": 8, "adam": 8, "lion": 4, "rmsprop": 4, "adagrad": 4}
_STATELESS = ("sgd", "adafactor", "apollo", "galore", "lomo")
# bitsandbytes' 8-bit states: a byte instead of four, and a float32 scale a block of 256.
_IN_8BIT = (1 + 4 / 256) / 4
_WHOLE = ("lm_head", "embed_tokens")


@dataclass(frozen=True)
class Trained:
    """Counts of trained weights; `unknown` are names of layers that config.json does not show."""

    lora: int
    saved: int
    unknown: tuple[str, ...] = ()

    @property
    def weights(self) -> int:
        return self.lora + self.saved


def trained_weights(shape: Architecture, model: ModelConfig) -> Trained:
    """
    Count what is trained in float32.

    An adapter of rank r on a matrix [out, in] has r (in + out) weights (arXiv:2106.09685).
    """
    targets = targeted(shape, model.lora_target_modules)
    a_layer = sum((item.inputs + item.outputs) * item.copies for item in targets)
    saved = [name for name in model.modules_to_save if _last(name) in _WHOLE]
    known = {linear.name for linear in shape.linears} | set(_WHOLE)
    asked = [*model.lora_target_modules, *model.modules_to_save]
    return Trained(
        lora=model.lora_r * a_layer * shape.layers,
        saved=len(saved) * shape.embedding_weights,
        unknown=tuple(name for name in asked if _last(name) not in known),
    )


def targeted(shape: Architecture, names: Sequence[str]) -> list[Linear]:
    """The matrices of one layer that get an adapter."""
    wanted = {_last(name) for name in names}
    return [linear for linear in shape.linears if linear.name in wanted]


def state_bytes(optimizer: str, *, gpu: bool) -> float:
    """
    Bytes of optimizer state a trained weight, by transformers' name of the optimizer.

    Pages of a paged optimizer count too: they are moved out only where memory is short. A CPU
    has neither 8-bit nor paged optimizers, and AdamW in float32 takes their place.
    """
    name = optimizer.lower()
    if not gpu and ("8bit" in name or "4bit" in name or name.startswith("paged")):
        return _STATES["adamw"]
    if any(part in name for part in _STATELESS):
        return 0
    family = next((part for part in _STATES if part in name), "adamw")
    return _STATES[family] * (_IN_8BIT if "8bit" in name else 1)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
