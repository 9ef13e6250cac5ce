"""Pairs as single answers, each with a label."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.data.example import Example, Message


def single_answers(rows: Sequence[Example]) -> list[Example]:
    """
    Split each pair into its chosen answer, labelled good, and its rejected one; others stay.

    A chosen answer is followed by the one rejected in the row before: KTO measures by neighbours,
    which should answer different prompts.
    """
    pairs = [row for row in rows if row.chosen is not None and row.rejected is not None]
    good = [_single(row, "chosen", row.chosen or "", label=True) for row in pairs]
    bad = [_single(row, "rejected", row.rejected or "", label=False) for row in pairs]
    mixed = [answer for both in zip(good, bad[-1:] + bad[:-1], strict=True) for answer in both]
    return [row for row in rows if row.label is not None] + mixed


def _single(row: Example, name: str, text: str, *, label: bool) -> Example:
    return Example(
        id=f"{row.id}/{name}",
        messages=[*row.messages, Message(role="assistant", content=text)],
        system=row.system,
        prompt=row.prompt,
        label=label,
    )
