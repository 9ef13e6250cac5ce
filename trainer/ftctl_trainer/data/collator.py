"""Makes a batch of rows: padded on the right to the longest of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftctl_trainer.data.chat import IGNORED

if TYPE_CHECKING:
    from torch import Tensor


class Collator:
    """
    Pads rows. The attention mask and the labels know padding by its place, not by its id.

    Args:
        pad_id: token id put where a row is shorter than the longest.
    """

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
        """Return input_ids, attention_mask and labels: int64, [rows, longest row]."""
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
        for row in rows:
            length = len(row["input_ids"])
            missing = longest - length
            columns["input_ids"].append([*row["input_ids"], *[self._pad_id] * missing])
            columns["attention_mask"].append([1] * length + [0] * missing)
            columns["labels"].append([*row["labels"], *[IGNORED] * missing])
        return {name: torch.tensor(values) for name, values in columns.items()}
