"""Refuses a run that its GPU has no room for, before it costs anything."""

from __future__ import annotations

from ftctl.contract.quantity import quantity_bytes
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl.estimate.facts import Estimate, Phase

_PARTS_SHOWN = 4


def check_fits(estimate: Estimate, gpu_memory_bytes: int | None) -> None:
    """
    Refuse a train stage that needs more memory than one GPU has.

    Args:
        gpu_memory_bytes: of one GPU; None, or an estimate without a shape, refuses nothing.
    Raises:
        ConfigError: names the largest parts, and the settings that would make it fit.
    """
    highest = estimate.highest
    if gpu_memory_bytes is None or highest is None or highest.total <= gpu_memory_bytes:
        return
    raise ConfigError(
        f"{highest.name} needs about {gib(highest.total)} of GPU memory, and one GPU has "
        f"{gib(gpu_memory_bytes)}: {_largest(highest)}",
        where=estimate.model,
        hint=_what_helps(estimate, highest.total - gpu_memory_bytes),
    )


def check_host(estimate: Estimate, config: Config) -> list[str]:
    """Sentences on memory that the profile's pods ask too little of; pods are killed for it."""
    found = []
    for stage, parts in (("train", estimate.train_host), ("convert", estimate.convert_host)):
        asked = quantity_bytes(getattr(config.cluster.resources, stage).memory)
        needed = sum(parts.values())
        if needed > asked:
            found.append(
                f"{stage} needs about {gib(needed)} of memory, and its pod asks for {gib(asked)}: "
                f"raise cluster.resources.{stage}.memory"
            )
    return found


def gib(count: int) -> str:
    """Bytes as GPUs and pods are measured, in GiB; small amounts in MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.0f} MiB"


def _largest(phase: Phase) -> str:
    parts = sorted(phase.parts.items(), key=lambda item: -item[1])[:_PARTS_SHOWN]
    return ", ".join(f"{name} {gib(count)}" for name, count in parts)


def _what_helps(estimate: Estimate, excess: int) -> str:
    if not estimate.savings:
        return "Take a GPU with more memory (cluster=...), or a smaller base model."
    enough = {name: saved for name, saved in estimate.savings.items() if saved >= excess}
    offered = enough or estimate.savings
    listed = ", ".join(f"{name} (saves {gib(saved)})" for name, saved in offered.items())
    if enough:
        return f"Any one of these makes it fit: {listed}; or take a GPU with more memory."
    return f"These make it smaller, each alone too little: {listed}; or take a larger GPU."
