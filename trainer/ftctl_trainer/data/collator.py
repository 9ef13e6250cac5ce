"""Makes a batch of rows: padded on the right to the longest of the batch, or laid end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftctl.contract.packing import pack
from ftctl_trainer.data.chat import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

Row = Mapping[str, Sequence[int]]

# What EndToEndCollator says that transformers' models do not take.
OWN_COLUMNS = frozenset({"row_lengths", "label_places", "targets"})


class Collator:
    """
    Pads rows. The attention mask and the labels know padding by its place, not by its id.

    Packed rows (those with position_ids) get no attention mask: their positions say who sees whom,
    and padding has positions of its own, as if it were one more row.

    Args:
        pad_id: token id put where a row is shorter than the longest.
    """

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """
        Return input_ids, labels, and attention_mask or position_ids: int64, [rows, longest row].

        `real_tokens`, [rows], are the tokens of each row without padding.
        """
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        places = "position_ids" if "position_ids" in rows[0] else "attention_mask"
        columns: dict[str, list[Any]] = {"input_ids": [], places: [], "labels": []}
        for row in rows:
            length = len(row["input_ids"])
            missing = longest - length
            columns["input_ids"].append([*row["input_ids"], *[self._pad_id] * missing])
            columns["labels"].append([*row["labels"], *[IGNORED] * missing])
            columns[places].append(
                [*row["position_ids"], *range(missing)]
                if places == "position_ids"
                else [1] * length + [0] * missing
            )
        columns["real_tokens"] = [_real(row) for row in rows]
        return {name: torch.tensor(values) for name, values in columns.items()}


class EndToEndCollator:
    """
    Lays rows end to end, without padding, for attention kernels of variable length.

    Those want to be told where each row begins: transformers hands `cu_seq_lens_*` and
    `max_length_*` through to them. Rows that are packed already keep the beginnings inside them.
    """

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """
        Return input_ids, labels and position_ids, int64, [1, tokens of all rows].

        `row_lengths` are the tokens of every row, also of those that are packed into one.
        `label_places` [N] are the places whose next token is a label, and `targets` [N] those
        labels: found here, where no device has to wait for it.
        """
        import torch

        columns: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in rows:
            columns["input_ids"] += row["input_ids"]
            # The token before a row's first is another row's.
            columns["labels"] += [IGNORED, *row["labels"][1:]]
            columns["position_ids"] += row.get("position_ids") or range(len(row["input_ids"]))
        batch: dict[str, Any] = {name: torch.tensor([ids]) for name, ids in columns.items()}
        tokens = batch["position_ids"].shape[1]
        starts = (batch["position_ids"][0] == 0).nonzero().flatten()
        ends = torch.cat([starts, torch.tensor([tokens])]).to(torch.int32)
        lengths = ends.diff().tolist()
        longest = max(lengths)
        places = (batch["labels"][0, 1:] != IGNORED).nonzero().flatten()
        return {
            **batch,
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": longest,
            "max_length_k": longest,
            "row_lengths": lengths,
            "label_places": places,
            "targets": batch["labels"][0, places + 1],
            "real_tokens": torch.tensor([sum(map(_real, rows))]),
        }


# cuBLAS looks for a kernel anew at every length that it has not met, five times as long as it takes
# to start one: passes are of few lengths.
STRIDE = 128


class StepCollator:
    """
    Lays all rows of an optimizer step end to end, in as few passes as they fit into.

    A row that teaches nothing fills each pass up to a length that others have, too.

    Args:
        most: tokens of a pass, but for those that fill it up.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lay = most, EndToEndCollator()

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """
        Return `passes`, batches as EndToEndCollator makes them.

        Beside them stand the `labels` of all, [1, tokens]: by these the trainer counts the step's.
        """
        import torch

        bins = pack([len(row["input_ids"]) for row in rows], self._most, seed=0)
        passes = [self._lay(_filled([rows[number] for number in numbers])) for numbers in bins]
        return {"labels": torch.cat([part["labels"] for part in passes], 1), "passes": passes}


def _filled(rows: list[Row]) -> list[Row]:
    missing = -sum(len(row["input_ids"]) for row in rows) % STRIDE
    blank = {"input_ids": [0] * missing, "labels": [IGNORED] * missing}
    return [*rows, {**blank, "position_ids": range(missing)}] if missing else rows


def _real(row: Row) -> int:
    """Tokens of a row; one that teaches nothing is there to fill a step up."""
    return len(row["input_ids"]) if any(label != IGNORED for label in row["labels"]) else 0
