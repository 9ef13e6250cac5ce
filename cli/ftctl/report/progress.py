"""Where a run is, and which runs there are, as text for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ftctl.contract.clusterview import ClusterView
from ftctl.contract.status import IndexRecord, Status
from ftctl.report.figures import NOTHING, age, clock, duration, number
from ftctl.report.place import joined_state, place_lines, place_words
from ftctl.report.record import RunRecord
from ftctl.report.table import align
from ftctl.report.timeline import timeline

LAST_EVENTS = 5


def status_text(record: RunRecord, view: ClusterView | None = None) -> str:
    """
    State, step, loss, speed, time left, heartbeat, cluster and the last events, a line each.

    Args:
        view: what the run's cluster says, for a run that is in one.
    """
    status = record.status
    pairs = [("run", record.run_id), ("state", _state(record, view))]
    if status is None:
        pairs.append(("stage", "no stage has started yet"))
    else:
        pairs += _progress(status)
        if record.state == "running":
            pairs.append(("left", duration(status.eta_s)))
        pairs.append(("heartbeat", _heartbeat(record, status)))
        if status.error:
            pairs.append(("error", status.error))
    lines = [f"{name:<11}{value}" for name, value in pairs]
    lines += place_lines(view) if view else []
    lines += [f"problem    {problem}" for problem in record.problems]
    entries = timeline(record.events)[-LAST_EVENTS:]
    if entries:
        cells = [[clock(e.time), e.stage, _count(e.kind, e.count), e.detail] for e in entries]
        lines += ["", "last events (UTC)", *align(cells, left=4)]
    return "\n".join(lines)


def status_line(record: RunRecord, view: ClusterView | None = None) -> str:
    """The same in one line that changes only when the run moves on."""
    status = record.status
    state = joined_state(record, view)
    if view and state in ("pending", "failed") and (words := place_words(view)):
        return f"{state}: {words}"
    if status is None:
        return f"{state}: no stage has started yet"
    parts = [f"{_state(record, view)}: {status.stage}, {status.phase}"]
    if status.total_steps:
        parts.append(f"step {status.step} of {status.total_steps}")
    if status.loss is not None:
        parts.append(f"loss {number(status.loss)}")
    if record.state == "running" and status.eta_s:
        parts.append(f"{duration(status.eta_s)} left")
    if status.error:
        parts.append(status.error)
    return ", ".join(parts)


def status_json(record: RunRecord, view: ClusterView | None = None) -> dict[str, Any]:
    """The same as plain values: status.json, the state by all that is known, the last events."""
    status = record.status.model_dump(mode="json") if record.status else {"run_id": record.run_id}
    return {
        **status,
        "state": joined_state(record, view),
        "heartbeat_age_s": record.heartbeat_age_s,
        "abandoned": record.abandoned,
        "events": [event.model_dump(mode="json") for event in record.events[-LAST_EVENTS:]],
        "problems": list(record.problems),
        "cluster": view.model_dump(mode="json") if view else None,
    }


def listing_text(runs: Sequence[IndexRecord], at: datetime) -> str:
    """A table of runs in the order given; ids are never cut. `at` is the time ages count from."""
    cells = [["run", "state", "stage", "model", "method", "loss", "created"]]
    cells += [
        [
            run.run_id,
            run.state,
            run.stage,
            run.model or NOTHING,
            run.method or NOTHING,
            number(run.loss),
            f"{age(run.created, at)} ago",
        ]
        for run in runs
    ]
    return "\n".join(align(cells, left=5))


def _state(record: RunRecord, view: ClusterView | None = None) -> str:
    state = joined_state(record, view)
    if record.abandoned and state == "running" and not (view and view.is_alive):
        return "running, but nobody works on it"
    return state


def _progress(status: Status) -> list[tuple[str, str]]:
    step = f"{status.step} of {status.total_steps}" if status.total_steps else NOTHING
    if status.total_steps:
        step += f" ({status.step * 100 // status.total_steps}%)"
    speed = status.real_tokens_per_s
    return [
        ("stage", f"{status.stage}: {status.phase}"),
        ("step", step),
        ("loss", number(status.loss)),
        ("speed", NOTHING if speed is None else f"{number(speed)} tokens/s"),
    ]


def _heartbeat(record: RunRecord, status: Status) -> str:
    text = f"{age(status.heartbeat, record.collected)} ago"
    if status.holder:
        text += f", by {status.holder}"
    if record.abandoned:
        text += f"; go on with `ftctl resume {record.run_id}`"
    return text


def _count(kind: str, count: int) -> str:
    return kind if count == 1 else f"{kind} x{count}"
