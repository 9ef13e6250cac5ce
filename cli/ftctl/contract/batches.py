"""How the rows of an optimizer step are shared by devices: as many devices, the same result."""

from __future__ import annotations

from dataclasses import dataclass

from ftctl.contract.training import TrainingConfig
from ftctl.errors import ConfigError


@dataclass(frozen=True)
class Share:
    """What one device does in an optimizer step: `passes` forward passes of `rows` rows."""

    rows: int
    passes: int


def rows_of_step(training: TrainingConfig) -> int:
    """Rows of an optimizer step on however many devices: it decides the result, they do not."""
    return training.per_device_train_batch_size * training.gradient_accumulation_steps


def share_of(training: TrainingConfig, world: int) -> Share:
    """
    Divide a step's rows among `world` devices, in passes of at most per_device_train_batch_size.

    Raises:
        ConfigError: the devices cannot have equally many rows.
    """
    rows = rows_of_step(training)
    each, rest = divmod(rows, world)
    if rest or not each:
        raise ConfigError(
            f"{rows} rows a step cannot be shared equally by {world} devices "
            f"(per_device_train_batch_size {training.per_device_train_batch_size} x "
            f"gradient_accumulation_steps {training.gradient_accumulation_steps})",
            where="training.gradient_accumulation_steps",
            hint=f"Set them so that their product is a multiple of {world}, or cluster.gpus and "
            "cluster.nodes so that theirs divides it. The rows of a step are part of the run.",
        )
    largest = max(
        size for size in range(1, training.per_device_train_batch_size + 1) if each % size == 0
    )
    return Share(rows=largest, passes=each // largest)
