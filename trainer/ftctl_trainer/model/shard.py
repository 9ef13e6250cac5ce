"""
Splits a frozen base among processes, so that each holds a part of it and gathers a layer at a time.

The trained weights stay whole in every process: they are small beside the base, and are kept in
step, saved and resumed as without this.
"""

from __future__ import annotations

import logging
from typing import Any

from ftctl.errors import ConfigError
from ftctl_trainer.model.lora import trainable
from ftctl_trainer.processes.group import Group

_log = logging.getLogger(__name__)


def shard_base(tuned: Any, group: Group) -> None:
    """
    Split the decoder layers of a PEFT model's base by torch's FSDP (fully_shard), in place.

    Embeddings, the head, and what is trained are left whole. From here on every forward pass is
    one of all processes.

    Raises:
        ConfigError: this PyTorch cannot split 4-bit weights.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.nn.parallel import DistributedDataParallel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (group.world,))
    base = tuned.get_base_model()
    kinds = set(base._no_split_modules or ())
    layers = [module for module in base.modules() if type(module).__name__ in kinds]
    whole = set(trainable(tuned).values())
    for layer in layers:
        _free_of_quantization(layer)
        split_module(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    inside = {weight for layer in layers for weight in layer.parameters()}
    rest = {weight for weight in base.parameters() if weight not in inside}
    split_module(base, mesh=mesh, ignored_params=whole | rest)
    split = [name for name, weight in tuned.named_parameters() if weight not in whole | rest]
    # torch does not type it.
    ignore: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(tuned, split)
    _log.info("the base's %d layers are split among %d processes", len(layers), group.world)


def split_module(module: Any, **options: Any) -> None:
    """
    Call fully_shard.

    Raises:
        ConfigError: this PyTorch makes weights that have gradients of bytes, which have none
            (pytorch/pytorch#177844: 2.11 does, 2.13 does not).
    """
    import torch
    from torch.distributed.fsdp import fully_shard

    try:
        fully_shard(module, **options)
    except RuntimeError as error:
        if "can require gradients" not in str(error):
            raise
        raise ConfigError(
            f"PyTorch {torch.__version__} cannot split 4-bit weights",
            where="cluster.shard",
            hint="Install PyTorch 2.13 or later, or set cluster.shard=false.",
        ) from error


def _free_of_quantization(layer: Any) -> None:
    """
    Make 4-bit weights plain bytes, and keep in the module what they stand for.

    bitsandbytes looks there (nn/modules.py, fix_4bit_weight_quant_state_from_module).
    """
    import torch
    from bitsandbytes.nn import Linear4bit

    for module in layer.modules():
        if isinstance(module, Linear4bit):
            module.quant_state = module.weight.quant_state
            module.weight = torch.nn.Parameter(module.weight.data, requires_grad=False)
