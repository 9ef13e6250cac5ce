"""What a run's cluster says of it, beside what its store says: as text, and as one state."""

from __future__ import annotations

from ftctl.contract.clusterview import ClusterView, StageView
from ftctl.contract.status import State
from ftctl.report.record import RunRecord


def joined_state(record: RunRecord, view: ClusterView | None) -> State:
    """
    The run's state by both: markers in the store first, then the Jobs, then status.json.

    A pod that was killed leaves status.json at `running`; its Job knows better.
    """
    if view is None or record.state in ("succeeded", "cancelled") or record.tombstones.failed:
        return record.state
    if view.failed:
        return "failed"
    if not view.is_alive:
        return record.state
    if any(stage.state == "running" for stage in view.stages):
        return "running"
    return "pending"


def place_lines(view: ClusterView) -> list[str]:
    """Where the run is, and for each stage how its Job stands, and why it does not go on."""
    lines = [f"cluster    namespace {view.namespace}"]
    if not view.stages:
        return [f"{lines[0]}: nothing of the run is there"]
    for stage in view.stages:
        lines += [f"  {line}" for line in _stage_lines(stage)]
    return lines


def place_words(view: ClusterView) -> str:
    """The same in a few words, for one line: the first stage that is not done."""
    stage = next((one for one in view.stages if one.state != "succeeded"), None)
    if stage is None:
        return ""
    reason = stage.reason or stage.last_failure
    return f"{stage.stage} {stage.state}" + (f": {reason.what}" if reason else "")


def _stage_lines(stage: StageView) -> list[str]:
    head = f"{stage.stage:<9}{_state(stage)}"
    if stage.state in ("running", "pending", "waiting") and stage.pod:
        head += f"  pod {stage.pod}" + (f" on {stage.node}" if stage.node else "")
    lines = [head]
    reason = stage.reason
    if reason is None and stage.last_failure and stage.state != "succeeded":
        lines.append(f"{'':<9}the last attempt: {_indented(stage.last_failure.what)}")
    if reason:
        lines.append(f"{'':<9}{_indented(reason.what)}")
        if reason.hint:
            lines.append(f"{'':<9}{_indented(reason.hint)}")
    return lines


def _state(stage: StageView) -> str:
    if stage.state == "waiting":
        return "waits for the stage before"
    if stage.state in ("running", "retrying", "pending") and stage.failures:
        return f"{stage.state} after {stage.failures} failed attempt(s)"
    return stage.state


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 11)
