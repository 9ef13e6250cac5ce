"""A PEFT adapter merged into its base, tensor by tensor, in float32, never the whole model."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ftctl.errors import RunFailedError
from ftctl_trainer.export.tensors import Array, Tensor, read_file, read_folder

EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"

_PREFIX = "base_model.model."
# Of a PEFT key: the module, and which part of its update it is.
_LORA_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B)(\.weight)?")


@dataclass(frozen=True)
class _Lora:
    a: Tensor
    b: Tensor
    scale: float
    transposed: bool


def merged_tensors(base: Path, adapter: Path) -> list[Tensor]:
    """
    Describe the merged model: the base's tensors in its order, then those the adapter adds.

    A tensor is read and merged when its `load` is called. An output layer that shares the
    embedding stays out, unless the adapter changes it: then the two part.

    Args:
        base: folder of the base model, with config.json and safetensors.
        adapter: folder that PEFT saved.
    Raises:
        RunFailedError: an adapter of another kind, or one that does not fit the base.
    """
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    _check_supported(settings, adapter)
    tensors = read_folder(base)
    tied = json.loads((base / "config.json").read_text()).get("tie_word_embeddings", False)
    updates, replaced = _adapter_parts(read_file(adapter / "adapter_model.safetensors"), settings)
    if tied or OUTPUT not in tensors:
        tensors.pop(OUTPUT, None)
        if OUTPUT in updates and EMBEDDING in tensors:
            tensors[OUTPUT] = replace(tensors[EMBEDDING], name=OUTPUT)
    _check_known(updates, replaced, tensors, adapter)
    for name, tensor in replaced.items():
        known = tensors.get(name)
        before = known.load if known and known.shape == tensor.shape else None
        tensors[name] = replace(tensor, base=before)
    return [_checked(_merged(tensor, updates.get(name))) for name, tensor in tensors.items()]


def merge_lora(weight: Array, a: Array, b: Array, scale: float, *, transposed: bool) -> Array:
    """
    Add a LoRA update to a base weight: W + scale B A.

    Source: arXiv:2106.09685, section 4.1. The product is computed in float32.

    Args:
        weight: base weight, [out, in], or [in, out] where `transposed`.
        a: down projection, [r, in].
        b: up projection, [out, r].
    """
    update = (b * np.float32(scale)) @ a
    return np.add(weight, update.T if transposed else update, dtype=np.float32)


def _check_supported(settings: dict[str, Any], adapter: Path) -> None:
    kind = settings.get("peft_type")
    for refused, what in (
        (kind != "LORA", f"a {kind} adapter, where a LoRA one is needed"),
        (settings.get("use_dora"), "a DoRA adapter, which cannot be merged yet"),
        (settings.get("lora_bias"), "a LoRA adapter with biases of its own (lora_bias)"),
    ):
        if refused:
            raise RunFailedError(what, where=str(adapter), hint="Train with plain LoRA.")


def _adapter_parts(
    found: dict[str, Tensor], settings: dict[str, Any]
) -> tuple[dict[str, _Lora], dict[str, Tensor]]:
    """Split an adapter file into LoRA updates and whole tensors, by the base's names."""
    parts: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in found.items():
        name = key.removeprefix(_PREFIX)
        if match := _LORA_KEY.fullmatch(name):
            parts.setdefault(match["module"], {})[match["part"]] = tensor
        else:
            # Older versions of PEFT keep the wrapper's name in the key.
            name = name.replace(".modules_to_save.default", "").replace(".modules_to_save", "")
            # PEFT saves the embedding that an update belongs to, unchanged, under this name.
            name = name.replace(".base_layer.", ".")
            whole[name] = replace(tensor, name=name)
    return {f"{m}.weight": _lora(m, pair, settings) for m, pair in parts.items()}, whole


def _lora(module: str, pair: dict[str, Tensor], settings: dict[str, Any]) -> _Lora:
    embedding = "embedding_A" in pair
    a, b = (pair.get(f"embedding_{part}" if embedding else part) for part in "AB")
    if a is None or b is None:
        raise RunFailedError(f"the adapter has only one half of {module}'s update")
    rank = int(_by_pattern(settings.get("rank_pattern"), module, settings["r"]))
    if not a.shape[0] == b.shape[1] == rank:
        raise RunFailedError(
            f"ranks differ at {module}: A has {a.shape[0]}, B has {b.shape[1]}, "
            f"adapter_config.json says {rank}"
        )
    alpha = float(_by_pattern(settings.get("alpha_pattern"), module, settings["lora_alpha"]))
    # arXiv:2312.03732, rank-stabilized LoRA: alpha / sqrt(r).
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    # An embedding's weight is [vocabulary, hidden], the update's [hidden, vocabulary].
    return _Lora(a, b, scale, embedding or bool(settings.get("fan_in_fan_out")))


def _by_pattern(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """A module's value: PEFT takes the first pattern that matches the end of its path."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _check_known(
    updates: dict[str, _Lora],
    replaced: dict[str, Tensor],
    tensors: dict[str, Tensor],
    adapter: Path,
) -> None:
    for name, lora in updates.items():
        target = replaced.get(name) or tensors.get(name)
        shape = (lora.b.shape[0], lora.a.shape[1])
        wanted = shape[::-1] if lora.transposed else shape
        if target is None or target.shape != wanted:
            found = "no such tensor" if target is None else f"one of shape {list(target.shape)}"
            raise RunFailedError(
                f"the adapter changes {name} {list(wanted)}; the base has {found}",
                where=str(adapter),
                hint="This adapter was trained on another base model.",
            )
    for name, tensor in replaced.items():
        known = tensors.get(name) or (tensors.get(EMBEDDING) if name == OUTPUT else None)
        # Rows may differ: a vocabulary grows by added tokens.
        if known is None or known.shape[1:] != tensor.shape[1:]:
            raise RunFailedError(
                f"the adapter's {name} {list(tensor.shape)} fits no tensor of the base",
                where=str(adapter),
                hint="This adapter was trained on another base model.",
            )


def _merged(tensor: Tensor, lora: _Lora | None) -> Tensor:
    if lora is None:
        return tensor

    def load() -> Array:
        # What is not finite is named by _checked.
        with np.errstate(all="ignore"):
            return merge_lora(
                tensor.load(), lora.a.load(), lora.b.load(), lora.scale, transposed=lora.transposed
            )

    return replace(tensor, load=load, base=tensor.load)


def _checked(tensor: Tensor) -> Tensor:
    def load() -> Array:
        values = tensor.load()
        if not np.isfinite(values).all():
            raise RunFailedError(
                f"{tensor.name} is not finite once merged",
                hint="The training diverged: lower training.learning_rate.",
            )
        return values

    return replace(tensor, load=load)
