"""The model as it is trained, with dense weights: on a CPU, 4-bit layers are slow to generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftctl_trainer.model.load import load_full

ADAPTER = "default"


def dense_copy(tuned: Any, folder: Path, *, trust_remote_code: bool = False) -> Any:
    """
    Return a float32 model with the same function as `tuned`, up to rounding.

    Every 4-bit layer is dequantized, and the adapter is added to it; what was never quantized
    comes from the base's folder.

    Args:
        tuned: a PEFT model over an NF4 base; it is not changed.
        folder: the base model's files.
    """
    import torch
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    copy = load_full(folder, dtype="float32", trust_remote_code=trust_remote_code)
    places = dict(copy.named_modules())
    with torch.no_grad():
        for name, module in tuned.get_base_model().named_modules():
            if name.endswith(".base_layer"):
                continue
            if isinstance(module, LoraLayer):
                weight = _dequantized(module.get_base_layer())
                places[name].weight.data = weight + module.get_delta_weight(ADAPTER).float()
            elif isinstance(module, Linear4bit):
                places[name].weight.data = _dequantized(module)
            elif isinstance(module, ModulesToSaveWrapper):
                _replace(copy, name, module.modules_to_save[ADAPTER])
    return copy.eval()


def quantized_layers(model: Any) -> list[str]:
    """Paths of the layers that were loaded in NF4."""
    from bitsandbytes.nn import Linear4bit

    return [name for name, module in model.named_modules() if isinstance(module, Linear4bit)]


def make_dense(model: Any) -> Any:
    """Replace the 4-bit layers of a model by what they stand for, and make all of it float32."""
    import torch

    with torch.no_grad():
        for name in quantized_layers(model):
            layer = model.get_submodule(name)
            outputs, inputs = layer.out_features, layer.in_features
            dense = torch.nn.Linear(inputs, outputs, bias=layer.bias is not None, device="meta")
            dense.weight = torch.nn.Parameter(_dequantized(layer), requires_grad=False)
            if layer.bias is not None:
                dense.bias = torch.nn.Parameter(layer.bias.float(), requires_grad=False)
            model.set_submodule(name, dense)
    # What transformers refuses to cast, as it takes the model for a quantized one.
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()
    return model


def _dequantized(layer: Any) -> Any:
    from bitsandbytes.functional import dequantize_4bit

    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight.data.float()
    return dequantize_4bit(layer.weight.data, state).float().reshape(tuple(state.shape))


def _replace(model: Any, name: str, trained: Any) -> None:
    """Put a layer that was trained whole in place; its weight is no longer tied to another."""
    import copy

    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, copy.deepcopy(trained).float())
