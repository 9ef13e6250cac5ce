"""What a PEFT adapter changes: read, checked, and by the names of the base's tensors."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl.errors import RunFailedError
from ftctl_trainer.export.tensors import Array, Tensor, read_file, row_blocks

_PREFIX = "base_model.model."
# Of a PEFT key: the module, and which part of its update it is.
_LORA_KEY = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?"
)
_TOKENS_KEY = re.compile(r"(?P<module>.+?)(\.token_adapter)?\.trainable_tokens_delta")


@dataclass(frozen=True)
class Lora:
    """
    An update: scale B A (arXiv:2106.09685).

    With a magnitude, one value an output, the rows of W + scale B A are brought to that length
    (DoRA, arXiv:2402.09353).
    """

    a: Tensor
    """[r, in]"""
    b: Tensor
    """[out, r]"""
    scale: float
    transposed: bool
    """The weight is [in, out], as of an embedding: [vocabulary, hidden]."""
    magnitude: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the weight that it belongs to."""
        outputs, inputs = self.b.shape[0], self.a.shape[1]
        return (inputs, outputs) if self.transposed else (outputs, inputs)


@dataclass(frozen=True)
class TokenRows:
    """Rows of an embedding that were trained by themselves: their numbers, and what they are."""

    numbers: NDArray[np.int64]
    values: Tensor


@dataclass(frozen=True)
class Adapter:
    """Changes by name of the base's tensor."""

    updates: dict[str, Lora] = field(default_factory=dict)
    replaced: dict[str, Tensor] = field(default_factory=dict)
    tokens: dict[str, TokenRows] = field(default_factory=dict)
    trained_whole: tuple[str, ...] = ()
    """Names of modules that were trained whole, as modules_to_save has them."""
    keeps_ties: bool = False
    """What shares a weight with a module that was trained whole was trained along."""


def read_adapter(folder: Path) -> Adapter:
    """
    Read what PEFT saved.

    Raises:
        RunFailedError: an adapter of a kind that is not handled, or one that contradicts itself.
    """
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    _check_supported(settings, folder)
    parts: dict[str, dict[str, Tensor]] = {}
    found = Adapter(
        trained_whole=tuple(settings.get("modules_to_save") or ()),
        keeps_ties=bool(settings.get("ensure_weight_tying")),
    )
    for key, tensor in read_file(folder / "adapter_model.safetensors").items():
        name = key.removeprefix(_PREFIX)
        if match := _LORA_KEY.fullmatch(name):
            parts.setdefault(match["module"], {})[match["part"]] = tensor
        elif match := _TOKENS_KEY.fullmatch(name):
            module = match["module"]
            found.tokens[f"{module}.weight"] = _token_rows(module, tensor, settings)
        elif ".original_module." not in name:  # a resized layer, before it was trained whole
            # Older versions of PEFT keep the wrapper's name in the key.
            name = name.replace(".modules_to_save.default", "").replace(".modules_to_save", "")
            # PEFT saves the embedding that an update belongs to, unchanged, under this name.
            name = name.replace(".base_layer.", ".")
            found.replaced[name] = replace(tensor, name=name)
    for module, pair in parts.items():
        found.updates[f"{module}.weight"] = _lora(module, pair, settings)
    return found


def check_finite(adapter: Adapter, where: str) -> None:
    """Raise RunFailedError if a value of the adapter is NaN or infinite. Reads all of it."""
    tensors = [*adapter.replaced.values(), *(rows.values for rows in adapter.tokens.values())]
    for lora in adapter.updates.values():
        tensors += [part for part in (lora.a, lora.b, lora.magnitude) if part]
    for tensor in tensors:
        for block in row_blocks(tensor.shape):
            if not is_finite(tensor.part(block.start, block.stop)):
                raise RunFailedError(
                    f"{tensor.name} of the adapter is not finite",
                    where=where,
                    hint="The training diverged: lower training.learning_rate.",
                )


def is_finite(values: Array) -> bool:
    """Whether no value is NaN or infinite."""
    # Their sum is not finite then either, and takes one pass without new memory.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _check_supported(settings: dict[str, Any], folder: Path) -> None:
    kind = settings.get("peft_type")
    for refused, what in (
        (kind != "LORA", f"a {kind} adapter, where a LoRA one is needed"),
        (settings.get("lora_bias"), "a LoRA adapter with biases of its own (lora_bias)"),
        (settings.get("target_parameters"), "a LoRA adapter of single parameters"),
        (settings.get("alora_invocation_tokens"), "an adapter that only some tokens switch on"),
        (settings.get("use_qalora"), "a QALoRA adapter"),
    ):
        if refused:
            raise RunFailedError(what, where=str(folder), hint="Train with plain LoRA.")


def _lora(module: str, pair: dict[str, Tensor], settings: dict[str, Any]) -> Lora:
    embedding = "embedding_A" in pair
    a, b = (pair.get(f"embedding_{part}" if embedding else part) for part in "AB")
    if a is None or b is None:
        raise RunFailedError(f"the adapter has only one half of {module}'s update")
    magnitude = pair.get("magnitude_vector")
    if bool(settings.get("use_dora")) != (magnitude is not None):
        raise RunFailedError(f"use_dora and the magnitudes of {module} contradict each other")
    rank = int(_by_pattern(settings.get("rank_pattern"), module, settings["r"]))
    if not a.shape[0] == b.shape[1] == rank:
        raise RunFailedError(
            f"ranks differ at {module}: A has {a.shape[0]}, B has {b.shape[1]}, "
            f"adapter_config.json says {rank}"
        )
    if magnitude is not None and magnitude.size != b.shape[0]:
        raise RunFailedError(f"{module} has {magnitude.size} magnitudes for {b.shape[0]} outputs")
    alpha = float(_by_pattern(settings.get("alpha_pattern"), module, settings["lora_alpha"]))
    # arXiv:2312.03732, rank-stabilized LoRA: alpha / sqrt(r).
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    transposed = embedding or bool(settings.get("fan_in_fan_out"))
    return Lora(a, b, scale, transposed, magnitude)


def _token_rows(module: str, values: Tensor, settings: dict[str, Any]) -> TokenRows:
    """PEFT keeps the rows in the order of the indices in its settings, by module or for all."""
    indices = settings.get("trainable_token_indices") or []
    if isinstance(indices, dict):
        indices = next((found for end, found in indices.items() if module.endswith(end)), [])
    if len(indices) != values.shape[0]:
        raise RunFailedError(
            f"{module} has {values.shape[0]} trained tokens, adapter_config.json names "
            f"{len(indices)}"
        )
    return TokenRows(np.asarray(indices, np.int64), values)


def _by_pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """A module's value: PEFT takes the first pattern that matches the end of its path."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
