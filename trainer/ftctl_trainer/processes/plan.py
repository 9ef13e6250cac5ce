"""How many processes train a run, and where they meet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ftctl.contract.batches import share_of
from ftctl.contract.pods import COMPLETION_INDEX, NODES, PROCESSES, RENDEZVOUS, SHARD
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError


@dataclass(frozen=True)
class Processes:
    """
    `local` processes here, on each of `nodes` nodes.

    `meet_at` is host:port of the first node; None: the processes of one machine find a port.
    """

    local: int = 1
    nodes: int = 1
    node: int = 0
    meet_at: str | None = None

    @property
    def world(self) -> int:
        """Processes in all."""
        return self.local * self.nodes


def planned(config: Config, environment: Mapping[str, str] = os.environ) -> Processes:
    """
    What the pod's environment says; without it one process a GPU of this machine.

    Raises:
        ConfigError: the rows of a step cannot be shared equally, or the environment is not whole.
    """
    local = _number(environment, PROCESSES, 0) or _gpus(config.cluster.gpus)
    nodes = _number(environment, NODES, 1)
    plan = Processes(
        local, nodes, _number(environment, COMPLETION_INDEX, 0), environment.get(RENDEZVOUS)
    )
    if nodes > 1 and not plan.meet_at:
        raise ConfigError(f"{NODES} is {nodes}, and {RENDEZVOUS} is not set")
    if plan.world > 1:
        share_of(config.training, plan.world)
    return plan


def splits_base(config: Config, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether each process is to hold a part of the base only."""
    return bool(environment.get(SHARD)) or config.cluster.shard


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isdigit():
        raise ConfigError(f"{text!r} is no whole number", where=name)
    return int(text)


def _gpus(wanted: int) -> int:
    """As many of the profile's GPUs as this machine has; the result is the same with fewer."""
    if wanted <= 1:
        return 1
    import torch

    return max(1, min(wanted, torch.cuda.device_count()))
