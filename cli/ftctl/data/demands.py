"""Which rows a training method can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ftctl.data.example import Example
from ftctl.data.problems import listing
from ftctl.errors import DataError

_HINTS = {
    "preference": "Set training.method=dpo, orpo or kto, or name another format with "
    "dataset.format.",
    "labelled": "Set training.method=kto, or name another format with dataset.format.",
    "ranked": "Set training.method=grpo, or name another format with dataset.format.",
    "answer": "Set training.method=sft, or give rows with prompt, chosen and rejected (for kto "
    "also prompt, completion and label).",
}
_USABLE = {
    "sft": frozenset({"answer"}),
    "dpo": frozenset({"preference"}),
    "orpo": frozenset({"preference"}),
    "kto": frozenset({"preference", "labelled"}),
    "grpo": frozenset({"answer", "ranked"}),
}


def shape(example: Example) -> str:
    """What a row's answer is: `answer`, `labelled`, `preference` (chosen, rejected) or `ranked`."""
    if example.chosen is not None or example.rejected is not None:
        return "preference"
    if example.label is not None:
        return "labelled"
    return "ranked" if example.responses is not None else "answer"


def refuse_unfit(splits: Mapping[str, Sequence[Example]], method: str) -> None:
    """
    Refuse rows that the method cannot learn from, and test rows without one right answer.

    Raises:
        DataError: names the rows, and the method or format that would fit.
    """
    unfit = [
        (name, row, kind)
        for name, rows in splits.items()
        for row in rows
        if (kind := shape(row)) not in (_USABLE["sft"] if name == "test" else _USABLE[method])
    ]
    if unfit:
        kinds = ", ".join(sorted({kind for _, _, kind in unfit}))
        rows = [f"{name} row {row.id}: {kind}" for name, row, kind in unfit]
        raise DataError(
            f"training.method={method} cannot use {len(unfit):,} rows ({kinds})\n{listing(rows)}",
            where="training.method",
            hint=_HINTS[unfit[0][2]],
        )
