"""transformers' training arguments from ours: the one place where both names stand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ftctl.contract.batches import share_of
from ftctl.contract.spec import TrainingConfig
from ftctl_trainer.model.precision import Precision

_log = logging.getLogger(__name__)


def common_arguments(
    training: TrainingConfig,
    *,
    precision: Precision,
    shuffle: bool,
    evaluates: bool,
    recomputes: bool,
    output_dir: Path,
    world: int = 1,
) -> dict[str, Any]:
    """
    What the arguments of every method's trainer have in common, by their names.

    Args:
        world: processes that share the rows of a step.
    """
    import torch

    share = share_of(training, world)
    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": share.rows,
        "per_device_eval_batch_size": training.per_device_eval_batch_size,
        "gradient_accumulation_steps": share.passes,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "num_train_epochs": training.num_train_epochs,
        "max_steps": training.max_steps,
        "warmup_steps": training.warmup_steps,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": _optimizer(training.optim, on_cpu=on_cpu),
        "neftune_noise_alpha": training.neftune_noise_alpha or None,
        "gradient_checkpointing": recomputes,
        "fp16": precision.autocast == "fp16",
        "bf16": precision.autocast == "bf16",
        "use_cpu": on_cpu,
        "seed": training.seed,
        "data_seed": training.seed,
        "train_sampling_strategy": _sampling(training.group_by_length, shuffle=shuffle),
        "logging_strategy": "steps",
        "logging_steps": training.logging_steps,
        # The trainer's own filter would hide a loss that is no number.
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": training.eval_steps,
        "save_strategy": "steps",
        # The best step can be published only if it was saved.
        "save_steps": training.eval_steps if training.load_best else training.save_steps,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,  # every trainable weight is in every pass
        "ddp_broadcast_buffers": False,  # none of them changes
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        # Else each column of a batch waits for all work before it.
        "accelerator_config": {"non_blocking": not on_cpu},
        "disable_tqdm": True,
        "report_to": "none",
        "log_level": "error",
    }


def _sampling(group_by_length: bool, *, shuffle: bool) -> str:
    if not shuffle:
        return "sequential"
    return "group_by_length" if group_by_length else "random"


def _optimizer(name: str, *, on_cpu: bool) -> str:
    if on_cpu and ("8bit" in name or "4bit" in name or name.startswith("paged")):
        _log.info("%s needs a GPU: AdamW in float32 (adamw_torch) takes its place", name)
        return "adamw_torch"
    return name
