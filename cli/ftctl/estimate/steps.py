"""Optimizer steps, the tokens in them, and how long they take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ftctl.contract.batches import rows_of_step
from ftctl.contract.packing import pack
from ftctl.contract.spec import TrainingConfig
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.trained import Trained

TERA = 10**12
# Of the card's bf16 rate. Measured on an H100 with a llama of 8.04B: TRL reaches 0.17 of 790
# TFLOP/s on padded rows with a trained lm_head, and 0.43 on packed ones with fused kernels.
GPU_EFFICIENCY = 0.25
# However few the tokens, a layer's kernels have to be started: about 200 of them, 10 us each.
_LAYER_PASS_S = 0.002
# A core's rate, from 360 tokens/s of a 135M model on two cores (benchmarks/RESULTS.md).
CPU_CORE_FLOPS = 0.1 * TERA


def total_steps(training: TrainingConfig, lengths: Sequence[int]) -> int:
    """
    Optimizer steps of the whole training, on however many devices.

    Args:
        lengths: tokens of every training row; packed rows are counted by the sequence.
    """
    return steps_of(training, _sequences(training, lengths))


def steps_of(training: TrainingConfig, sequences: int) -> int:
    """The same for so many sequences an epoch, as transformers' Trainer counts steps."""
    if training.max_steps > 0:
        return training.max_steps
    an_epoch = math.ceil(sequences / rows_of_step(training))
    return max(1, math.ceil(training.num_train_epochs * an_epoch))


def grpo_steps(training: TrainingConfig, prompts: int, generations: int) -> int:
    """Optimizer steps of GRPO: prompts that do not fill an epoch's last step are left out of it."""
    if training.max_steps > 0:
        return training.max_steps
    an_epoch = prompts // a_step(training, generations)
    return max(1, math.ceil(training.num_train_epochs * an_epoch))


def a_step(training: TrainingConfig, generations: int) -> int:
    """Prompts of one step of GRPO, each answered `generations` times."""
    return max(1, rows_of_step(training) // generations)


def passes_a_step(training: TrainingConfig, world: int) -> int:
    """Forward passes that each of `world` devices takes for an optimizer step."""
    return -(-rows_of_step(training) // (world * training.per_device_train_batch_size))


def _sequences(training: TrainingConfig, lengths: Sequence[int]) -> int:
    if not training.packing:
        return len(lengths)
    return len(pack(lengths, training.max_seq_length, training.seed))


def trained_tokens(training: TrainingConfig, lengths: Sequence[int], steps: int) -> int:
    """Tokens of all steps without padding, rows cut to max_seq_length."""
    cut = [min(length, training.max_seq_length) for length in lengths]
    passes = steps * rows_of_step(training) / _sequences(training, lengths)
    if training.max_steps <= 0:
        passes = min(passes, training.num_train_epochs)
    return round(passes * sum(cut))


def token_flops(shape: Architecture, trained: Trained, *, recompute: bool) -> int:
    """
    Floating-point operations a token: 2 a weight and pass.

    A frozen matrix is passed forward and backward, and forward again with `recompute`; a trained
    weight once more, for its own gradient (arXiv:2001.08361, table 1, without attention's share).
    """
    frozen = shape.active_weights + shape.embedding_weights
    passes = 3 if recompute else 2
    return 2 * passes * frozen + 2 * (passes + 1) * trained.lora + 2 * trained.saved


def training_seconds(
    shape: Architecture,
    trained: Trained,
    *,
    tokens: int,
    passes: int,
    flops_per_s: float,
    recompute: bool,
    gpu: bool,
) -> float:
    """
    Seconds of all steps, without loading, answers and held-out losses.

    Args:
        tokens: real tokens a device trains on.
        passes: batches a device takes.
        flops_per_s: what the device reaches on this work.
    """
    computed = tokens * token_flops(shape, trained, recompute=recompute) / flops_per_s
    if not gpu:
        return computed
    started = passes * shape.layers * (3 if recompute else 2) * _LAYER_PASS_S
    return max(computed, started)
