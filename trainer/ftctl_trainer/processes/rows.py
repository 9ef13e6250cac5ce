"""The rows of each step shared by the processes: together they take what one alone would take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_pt_utils import LengthGroupedSampler

from ftctl_trainer.data.chat import IGNORED
from ftctl_trainer.processes.group import Group


def blank_row(pad_id: int) -> dict[str, list[int]]:
    """A row that teaches nothing, for processes that a step has no row for."""
    return {"input_ids": [pad_id, pad_id], "labels": [IGNORED, IGNORED], "position_ids": [0, 1]}


class SharedBatches(Sampler[list[int]]):
    """
    The batches of one process.

    transformers would make up a last step that is short by rows from the epoch's start, and so
    train them twice.
    """

    def __init__(self, order: Any, rows: int, group: Group, blank: int) -> None:
        """
        Args:
            order: sampler of the rows' numbers; the first process's decides.
            rows: rows of a forward pass.
            blank: number of the row that fills up.
        """
        self._order, self._rows, self._group, self._blank = order, rows, group, blank

    def __len__(self) -> int:
        return -(-len(self._order) // (self._rows * self._group.world))

    def __iter__(self) -> Iterator[list[int]]:
        """Every process gets the next `rows` in turn."""
        order: list[int] = self._group.from_first(lambda: list(self._order))
        together = self._rows * self._group.world
        order += [self._blank] * (-len(order) % together)
        for start in range(self._rows * self._group.rank, len(order), together):
            yield order[start : start + self._rows]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes; an order that never changes need not know."""
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(epoch)


class SharedLoader(DataLoader[Any]):
    """Loads the batches of one process, and hands the epoch on."""

    def __init__(self, dataset: Any, batches: SharedBatches, collate: Any, *, pin: bool) -> None:
        super().__init__(dataset, batch_sampler=batches, collate_fn=collate, pin_memory=pin)
        self._batches = batches

    def set_epoch(self, epoch: int) -> None:
        """As accelerate's own loaders have it."""
        self._batches.set_epoch(epoch)


class LengthOrder(LengthGroupedSampler):  # type: ignore[misc]
    """
    Rows of like length together, in an order that the epoch decides.

    transformers draws it from the random numbers of the moment: a run that resumes in a later epoch
    would meet other rows than the run that goes through.
    """

    epoch = 0

    def __init__(self, rows_of_step: int, lengths: Sequence[int], seed: int) -> None:
        super().__init__(rows_of_step, lengths=list(lengths), generator=torch.Generator())
        self._seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self.epoch)
        return iter(super().__iter__())


def epoch_order(sampling: str, lengths: Sequence[int], *, rows_of_step: int, seed: int) -> Any:
    """
    The sampler that one process has.

    Args:
        sampling: transformers' train_sampling_strategy.
        lengths: tokens of every row.
    """
    from accelerate.data_loader import SeedableRandomSampler
    from torch.utils.data import SequentialSampler

    numbers = range(len(lengths))
    if sampling == "sequential":
        return SequentialSampler(numbers)
    if sampling == "group_by_length":
        return LengthOrder(rows_of_step, lengths, seed)
    return SeedableRandomSampler(numbers, data_seed=seed)
