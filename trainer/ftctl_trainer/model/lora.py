"""Puts LoRA adapters (arXiv:2106.09685) on a frozen base, by PEFT."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ftctl.errors import ConfigError


def add_lora(
    model: Any,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str],
    modules_to_save: Sequence[str],
    seed: int,
    **variants: bool,
) -> Any:
    """
    Return a PEFT model whose trainable weights, all float32, are drawn from `seed`.

    Args:
        variants: PEFT's use_rslora and use_dora.
    Raises:
        ConfigError: a layer named does not exist, or cannot have an adapter.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.utils import ModulesToSaveWrapper
    from transformers import set_seed

    _check_names(model, "model.lora_target_modules", target_modules, linear_only=True)
    _check_names(model, "model.modules_to_save", modules_to_save, linear_only=False)
    set_seed(seed)
    tuned = get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=sorted(target_modules),
            modules_to_save=sorted(modules_to_save) or None,
            **variants,
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    for module in tuned.modules():
        if isinstance(module, ModulesToSaveWrapper):
            for copy in module.modules_to_save.values():
                if isinstance(copy, torch.nn.Linear):
                    copy.register_forward_pre_hook(_in_own_dtype)
    return tuned


def _in_own_dtype(layer: Any, inputs: tuple[Any]) -> tuple[Any] | None:
    """A layer that is trained whole is float32: outside autocast it takes nothing else."""
    import torch

    (x,) = inputs
    return None if torch.is_autocast_enabled(x.device.type) else (x.to(layer.weight.dtype),)


def load_weights(tuned: Any, folder: Path) -> None:
    """
    Put the adapter of a folder, a checkpoint's for one, into the model.

    Raises:
        ConfigError: it is an adapter of other layers, or of other shapes.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    weights = load_peft_weights(str(folder), device="cpu")
    try:
        found = set_peft_model_state_dict(tuned, weights)
    except RuntimeError as error:  # torch names every tensor of another shape
        raise _other_adapter(folder, str(error).strip().splitlines()[-1].strip()) from error
    lacking = [name for name in found.missing_keys if name in trainable(tuned)]
    if lacking or found.unexpected_keys:
        raise _other_adapter(
            folder, f"not the same layers: {[*lacking, *found.unexpected_keys][0]}"
        )


def _other_adapter(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the adapter does not fit the model: {why}",
        where=str(folder),
        hint="Name the base model, lora_r and lora_target_modules that it was trained with.",
    )


def trainable(model: Any) -> dict[str, Any]:
    """The trainable parameters by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _check_names(model: Any, key: str, wanted: Sequence[str], *, linear_only: bool) -> None:
    import torch

    kinds: dict[str, list[Any]] = {}
    for path, module in model.named_modules():
        if path:
            kinds.setdefault(path.rpartition(".")[2], []).append(module)
    linear = sorted(
        name
        for name, modules in kinds.items()
        if all(isinstance(module, torch.nn.Linear) for module in modules)
    )
    known = linear if linear_only else sorted(name for name in kinds if not name.isdigit())
    for name in wanted:
        # A dotted name addresses one layer; PEFT matches it as a suffix.
        if name.rpartition(".")[2] not in known:
            near = get_close_matches(name, known, n=1)
            guess = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"the model has no layer {name!r}",
                where=key,
                hint=f"Its layers: {', '.join(known)}.{guess}",
            )
