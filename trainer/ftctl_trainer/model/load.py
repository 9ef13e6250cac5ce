"""Loads a base model: quantized for training, or whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftctl.contract.spec import Dtype
from ftctl.errors import ConfigError


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """
    Load the tokenizer of a model's folder.

    Raises:
        ConfigError: the folder has none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(folder, "tokenizer", error) from error


def load_quantized(
    folder: Path,
    *,
    dtype: Dtype,
    use_8bit: bool,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """
    Load a causal language model in NF4 with double quantization (arXiv:2305.14314), frozen.

    Args:
        dtype: what its layers compute in, and what is not quantized is kept in.
        use_8bit: LLM.int8 instead of NF4.
    Raises:
        ConfigError: the folder holds no model that transformers knows.
    """
    import torch
    from transformers import BitsAndBytesConfig

    compute = getattr(torch, dtype)
    if use_8bit:
        quantization = BitsAndBytesConfig(load_in_8bit=True)
    else:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
    model = _load(
        folder,
        dtype=compute,
        quantization_config=quantization,
        attn_implementation=attn_implementation,
        trust_remote_code=trust_remote_code,
        device_map={"": _device()},
    )
    _forbid_repacking(model)
    return model


def load_full(
    folder: Path, *, dtype: Dtype, trust_remote_code: bool = False, device: str | None = None
) -> Any:
    """
    Load a causal language model without quantization, frozen. Raises as `load_quantized`.

    Args:
        device: None takes the GPU where there is one.
    """
    import torch

    return _load(
        folder,
        dtype=getattr(torch, dtype),
        trust_remote_code=trust_remote_code,
        device_map={"": device or _device()},
    )


def _load(folder: Path, **options: Any) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise _unusable(folder, "model", error) from error
    except RuntimeError as error:
        # transformers has no class of its own for this one; others are for the boundary.
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise ConfigError(
            "the weights do not have the shapes that config.json describes",
            where=str(folder),
            hint="Use the config.json that belongs to these weights.",
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _forbid_repacking(model: Any) -> None:
    """
    Keep 4-bit weights as they are when they are evaluated on a CPU with AVX512-BF16.

    bitsandbytes 0.50 repacks them there for inference (nn/modules.py, Linear4bit.forward), rounds
    their scales, and then multiplies without a gradient: training would go on with a wrong one.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _device() -> str:
    import torch

    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


def _unusable(folder: Path, part: str, error: Exception) -> ConfigError:
    first = str(error).strip().split("\n", 1)[0]
    return ConfigError(
        f"the {part} cannot be loaded: {first}",
        where=str(folder),
        hint="It needs config.json, *.safetensors and tokenizer files of a causal language model.",
    )
