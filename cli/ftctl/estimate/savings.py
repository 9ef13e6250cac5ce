"""Which settings would make a run smaller, and by how much."""

from __future__ import annotations

from typing import Any

from ftctl.contract.spec import Config
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.facts import Rows
from ftctl.estimate.load import load_of
from ftctl.estimate.memory import phases

# The least that training.max_seq_length may be.
_SHORTEST = 8
# What saves less than this share of the highest phase is not worth a change.
_WORTH = 0.02


def savings(
    shape: Architecture, config: Config, rows: Rows | None, *, recompute: bool
) -> dict[str, int]:
    """Setting to the bytes that it takes off the highest phase, largest first."""

    def peak(other: Config, *, again: bool = recompute) -> int:
        found = phases(shape, other, load_of(other, rows), recompute=again)
        return max(phase.total for phase in found)

    now = peak(config)
    after = {
        f"{section}.{key}={value}": peak(_with(config, section, key, value))
        for section, key, value in _halves(config, rows)
    }
    if config.model.modules_to_save:
        after["model.modules_to_save=[]"] = peak(_with(config, "model", "modules_to_save", []))
    if not recompute:
        after["training.gradient_checkpointing=true"] = peak(config, again=True)
    saved = {setting: now - less for setting, less in after.items() if now - less > _WORTH * now}
    return dict(sorted(saved.items(), key=lambda item: -item[1]))


def _halves(config: Config, rows: Rows | None) -> list[tuple[str, str, int]]:
    """Sizes of batches and rows, halved where they can be."""
    training, testing = config.training, config.testing
    wanted = [
        ("training", "per_device_train_batch_size", training.per_device_train_batch_size // 2, 1),
        ("training", "per_device_eval_batch_size", training.per_device_eval_batch_size // 2, 1),
        ("training", "max_seq_length", load_of(config, rows).length // 2, _SHORTEST),
        ("testing", "batch_size", testing.batch_size // 2, 1),
    ]
    return [(section, key, half) for section, key, half, least in wanted if half >= least]


def _with(config: Config, section: str, key: str, value: Any) -> Config:
    changed = getattr(config, section).model_copy(update={key: value})
    return config.model_copy(update={section: changed})
