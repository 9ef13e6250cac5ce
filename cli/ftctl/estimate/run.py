"""The estimate of a run, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftctl.contract.quantity import cpu_cores, quantity_bytes
from ftctl.contract.spec import Config
from ftctl.estimate import host
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.facts import Estimate, Phase, Rows
from ftctl.estimate.load import Load, load_of
from ftctl.estimate.memory import activation_bytes, phases, resident_bytes
from ftctl.estimate.savings import savings
from ftctl.estimate.steps import (
    CPU_CORE_FLOPS,
    GPU_EFFICIENCY,
    TERA,
    grpo_steps,
    passes_a_step,
    total_steps,
    trained_tokens,
    training_seconds,
)
from ftctl.estimate.trained import Trained, trained_weights

# With gradient_checkpointing=auto the trainer keeps activations in at most half of what is free
# (trainer/ftctl_trainer/model/activations.py).
_AUTO_SHARE = 0.5


def estimate_run(
    config: Config,
    shape: Architecture | None,
    rows: Rows | None,
    *,
    gguf_bytes: int | None = None,
    notes: tuple[str, ...] = (),
) -> Estimate:
    """
    Say what a run will take. Pure: nothing is read.

    Args:
        config: composed and checked.
        shape: the base model's; None where its config.json could not be read.
        rows: lengths of the rows; None where they are not known.
        gguf_bytes: size of a base that is a GGUF file.
        notes: what whoever gathered the facts has to add.
    """
    cluster = config.cluster
    memory = gpu_memory_bytes(config)
    load = load_of(config, rows)
    estimate = Estimate(
        model=config.model.model_name,
        device="gpu" if cluster.gpus else "cpu",
        gpus=cluster.gpus * cluster.nodes,
        batch_rows=load.rows,
        batch_tokens=load.length,
        gpu_memory=memory,
        notes=list(notes),
    )
    steps: dict[str, Any] = _steps(config, rows)
    if shape is None:
        return estimate.model_copy(update=steps)
    found = _of_shape(shape, config, rows, steps, gguf_bytes)
    return estimate.model_copy(
        update={**steps, **found, "notes": [*notes, *_notes(shape, config, rows)]}
    )


def _of_shape(
    shape: Architecture,
    config: Config,
    rows: Rows | None,
    steps: Mapping[str, int | None],
    gguf_bytes: int | None,
) -> dict[str, Any]:
    """All that follows from the base model's shape."""
    load = load_of(config, rows)
    recompute = _recomputes(shape, config, load, gpu_memory_bytes(config))
    trained = trained_weights(shape, config.model)
    found = phases(shape, config, load, recompute=recompute)
    on_gpu = config.cluster.gpus > 0
    return {
        **_time(shape, trained, config, steps, recompute=recompute),
        "parameters": shape.parameters,
        "trainable": trained.weights,
        "recompute": recompute,
        "memory": found,
        "train_host": _of_node(
            shape, config, host.train_host(shape, config, load) if on_gpu else _on_cpu(found)
        ),
        "convert_host": host.convert_host(shape, config),
        "train_disk": host.train_disk(shape, config, gguf=gguf_bytes),
        "convert_disk": host.convert_disk(shape, config, gguf=gguf_bytes),
        "savings": savings(shape, config, rows, recompute=recompute),
    }


def gpu_memory_bytes(config: Config) -> int | None:
    """Bytes of one GPU by the profile; None on a CPU, or where the profile does not say."""
    cluster = config.cluster
    return quantity_bytes(cluster.gpu_memory) if cluster.gpus and cluster.gpu_memory else None


def _recomputes(shape: Architecture, config: Config, load: Load, memory: int | None) -> bool:
    setting = config.training.gradient_checkpointing
    if setting != "auto":
        return bool(setting)
    if not config.cluster.gpus:
        memory = quantity_bytes(config.cluster.resources.train.memory)
    if memory is None:
        return True
    free = memory - resident_bytes(shape, config)
    return activation_bytes(shape, config, load, recompute=False) > _AUTO_SHARE * free


def _steps(config: Config, rows: Rows | None) -> dict[str, int | None]:
    if rows is None or not rows.train:
        steps = config.training.max_steps
        return {"steps": steps if steps > 0 else None, "tokens": None}
    if config.training.method == "grpo":
        steps = grpo_steps(config.training, len(rows.train), config.grpo.num_generations)
        # How long the model's own answers will be cannot be known.
        return {"steps": steps, "tokens": None}
    steps = total_steps(config.training, rows.train)
    return {
        "steps": steps,
        "tokens": trained_tokens(config.training, rows.train, steps),
    }


def _time(
    shape: Architecture,
    trained: Trained,
    config: Config,
    steps: Mapping[str, int | None],
    *,
    recompute: bool,
) -> dict[str, float | None]:
    cluster, count, tokens = config.cluster, steps["steps"], steps["tokens"]
    rate = _flops_per_s(config)
    if not tokens or not count or rate is None:
        return {}
    seconds = training_seconds(
        shape,
        trained,
        tokens=tokens // cluster.processes,
        passes=count * passes_a_step(config.training, cluster.processes),
        flops_per_s=rate,
        recompute=recompute,
        gpu=cluster.gpus > 0,
    )
    hourly = cluster.price_per_hour
    return {
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "price": None if hourly is None else hourly * cluster.nodes * seconds / 3600,
    }


def _flops_per_s(config: Config) -> float | None:
    """What the device reaches on this work; None for a GPU that the profile does not describe."""
    cluster = config.cluster
    if not cluster.gpus:
        return CPU_CORE_FLOPS * cpu_cores(cluster.resources.train.cpu)
    return None if cluster.gpu_tflops is None else GPU_EFFICIENCY * TERA * cluster.gpu_tflops


def _of_node(shape: Architecture, config: Config, parts: dict[str, int]) -> dict[str, int]:
    """What all processes of a node take; of a split base the first also holds the whole one."""
    cluster = config.cluster
    found = {part: size * cluster.processes_a_node for part, size in parts.items()}
    return found | (host.reference_host(shape) if cluster.splits and cluster.gpus else {})


def _on_cpu(found: list[Phase]) -> dict[str, int]:
    return dict(max(found, key=lambda phase: phase.total).parts)


def _notes(shape: Architecture, config: Config, rows: Rows | None) -> list[str]:
    notes = []
    trained = trained_weights(shape, config.model)
    if trained.unknown:
        notes.append(
            f"not counted, as config.json does not show them: {', '.join(trained.unknown)}"
        )
    if shape.experts > 1:
        whole = 2 * shape.linear_weights / 1e9
        notes.append(
            f"the {shape.experts} experts are counted as quantized; where transformers keeps them "
            f"whole they take up to {whole:.0f} GB"
        )
    if rows is None:
        notes.append("the rows are not known: batches are taken as full, steps cannot be counted")
    elif not rows.exact:
        notes.append("tokens are estimated from characters; a tokenizer at hand would count them")
    if config.cluster.gpus and config.cluster.gpu_tflops is None:
        notes.append("time and price are not known: the profile has no cluster.gpu_tflops")
    elif config.cluster.gpus:
        notes.append("time is rough, within a factor of two, and of the training alone")
    return notes
