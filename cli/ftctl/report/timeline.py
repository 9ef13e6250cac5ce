"""Events as lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from ftctl.contract.status import Event

# A longer row of equal events, as checkpoints are, becomes its first and last.
MOST_ALIKE = 3


@dataclass(frozen=True)
class Entry:
    """One line: one event, or `count` equal ones of which this is the last."""

    time: datetime
    stage: str
    kind: str
    detail: str
    count: int = 1


def timeline(events: Sequence[Event]) -> list[Entry]:
    """Events in the order of their times, long rows of one kind shortened."""
    entries: list[Entry] = []
    ordered = sorted(events, key=lambda event: event.time)
    for _, group in groupby(ordered, key=lambda event: (event.stage, event.kind)):
        alike = list(group)
        if len(alike) > MOST_ALIKE:
            first, last = alike[0], alike[-1]
            span = f"{details(first)} … {details(last)}" if details(last) else ""
            entries.append(Entry(last.time, last.stage, last.kind, span, len(alike)))
        else:
            entries += [
                Entry(event.time, event.stage, event.kind, details(event)) for event in alike
            ]
    return entries


def details(event: Event) -> str:
    """The event's data, as in `step 40, files 3`."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in event.data.items())
