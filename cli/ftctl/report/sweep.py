"""The children of a sweep side by side: a table, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ftctl.contract.status import State
from ftctl.contract.sweep import LOWER_IS_BETTER, Objective, Sweep
from ftctl.report.curve import held_out_points
from ftctl.report.figures import NOTHING, number, percent
from ftctl.report.record import RunRecord
from ftctl.report.table import align

# As tables name them.
MEASURES: dict[Objective, str] = {
    "loss": "held-out loss",
    "right_action": "right action",
    "exact_match": "exact match",
    "reward": "reward",
}


@dataclass(frozen=True)
class SweepRow:
    """A child and what came of it; None where nothing was measured."""

    run_id: str
    values: dict[str, str] = field(default_factory=dict)
    """Swept key to its value."""
    state: State = "pending"
    reason: str | None = None
    """Why it was stopped, or failed."""
    step: int | None = None
    loss: float | None = None
    """Held-out loss of the model as trained, in nats a label token; until then the last logged."""
    right_action: float | None = None
    exact_match: float | None = None
    reward: float | None = None
    best: bool = False

    def score(self, objective: Objective) -> float | None:
        """The measure that children are compared by."""
        value: float | None = getattr(self, objective)
        return value

    def failed(self) -> SweepRow:
        """The same row of a child of which is known elsewhere that it failed."""
        return replace(self, state="failed")


def sweep_rows(
    sweep: Sweep, records: Sequence[RunRecord], reasons: Mapping[str, str]
) -> list[SweepRow]:
    """
    Rows in the order of the children; the best of those that are published is marked.

    Args:
        records: of the children, in their order.
        reasons: run id to why it ended without being published.
    """
    rows = [
        _row(child.run_id, child.values, record, reasons)
        for child, record in zip(sweep.children, records, strict=True)
    ]
    best = best_of(rows, sweep.objective)
    return [replace(row, best=row is best) for row in rows]


def best_of(rows: Sequence[SweepRow], objective: Objective) -> SweepRow | None:
    """The best published row; of equals the first. None where no published one was measured."""
    found = [
        (score, row)
        for row in rows
        if row.state == "succeeded" and (score := row.score(objective)) is not None
    ]
    if not found:
        return None
    sign = 1 if objective in LOWER_IS_BETTER else -1
    return min(found, key=lambda pair: sign * pair[0])[1]


def ranked(rows: Sequence[SweepRow], objective: Objective) -> list[SweepRow]:
    """Best first; those without a score last, as they came."""
    sign = 1 if objective in LOWER_IS_BETTER else -1

    def place(row: SweepRow) -> float:
        score = row.score(objective)
        return math.inf if score is None else sign * score

    return sorted(rows, key=lambda row: (not row.best, place(row)))


def sweep_text(sweep: Sweep, rows: Sequence[SweepRow]) -> str:
    """The table, best first, and a line a child that was stopped or failed."""
    keys = short_keys([axis.key for axis in sweep.axes])
    head = [
        "run",
        *keys.values(),
        "state",
        "step",
        *(MEASURES[measure] for measure in measured(rows)),
    ]
    cells = [head, *(_cells(row, list(keys), rows) for row in ranked(rows, sweep.objective))]
    lines = align(cells, left=1)
    notes = [f"{row.run_id}: {row.reason}" for row in rows if row.reason]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def counted(rows: Sequence[SweepRow]) -> str:
    """`4 succeeded, 2 cancelled`."""
    states = [row.state for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def measured(rows: Sequence[SweepRow]) -> list[Objective]:
    """The measures that say something of these rows; the held-out loss always."""
    found = [
        measure
        for measure in MEASURES
        if measure == "loss" or any(row.score(measure) is not None for row in rows)
    ]
    # Where answers name actions, wording is no measure of them.
    return [one for one in found if one != "exact_match" or "right_action" not in found]


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Keys to their last parts, where these tell them apart; else to themselves."""
    last = {key: key.rpartition(".")[2] for key in keys}
    names = list(last.values())
    return {key: name if names.count(name) == 1 else key for key, name in last.items()}


def _row(
    run_id: str, values: dict[str, str], record: RunRecord, reasons: Mapping[str, str]
) -> SweepRow:
    after = record.evaluation.after if record.evaluation else None
    return SweepRow(
        run_id=run_id,
        values=values,
        state=record.state,
        reason=reasons.get(run_id),
        step=record.step or None,
        loss=_loss(record),
        right_action=after.right_action if after else None,
        exact_match=after.exact_match if after else None,
        reward=after.reward if after else None,
    )


def _loss(record: RunRecord) -> float | None:
    """Of the model as it was trained where that was measured, else the last in the metrics."""
    after = record.evaluation.after if record.evaluation else None
    if after and after.loss is not None:
        return after.loss
    points = held_out_points(record.metrics)
    return points[-1][1] if points else None


def shown_score(row: SweepRow, measure: Objective) -> str:
    """A measure as the table has it."""
    value = row.score(measure)
    return percent(value) if measure in ("right_action", "exact_match") else number(value, 4)


def _cells(row: SweepRow, keys: Sequence[str], rows: Sequence[SweepRow]) -> list[str]:
    return [
        f"* {row.run_id}" if row.best else f"  {row.run_id}",
        *(row.values.get(key, NOTHING) for key in keys),
        row.state,
        NOTHING if row.step is None else str(row.step),
        *(shown_score(row, measure) for measure in measured(rows)),
    ]
