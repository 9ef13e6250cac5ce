"""Every process draws its own random numbers, and a checkpoint holds all of their states."""

from __future__ import annotations

from pathlib import Path

from ftctl_trainer.processes.group import Group


def gather_random_states(folder: Path, group: Group) -> None:
    """Bring the file that transformers' trainer wrote in each process to the first one's folder."""
    if group.world == 1:
        return
    own = folder / _name(group.rank)
    for rank, state in enumerate(group.gathered(own.read_bytes())):
        if group.first:
            (folder / _name(rank)).write_bytes(state)


def _name(rank: int) -> str:
    return f"rng_state_{rank}.pth"
