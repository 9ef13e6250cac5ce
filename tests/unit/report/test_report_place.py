"""A run's store and its cluster, joined."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftctl.contract.clusterview import ClusterView, Reason, StageState, StageView
from ftctl.contract.status import State
from ftctl.report.place import joined_state, place_lines, place_words
from ftctl.report.record import RunRecord, Tombstones
from tests import report_records as made

NO_GPU = Reason(code="Unschedulable", what="no node can take the pod", hint="Lower cluster.gpus.")


def stage(state: StageState, name: str = "train", **more: object) -> StageView:
    return StageView.model_validate({"stage": name, "job": f"run-{name}", "state": state, **more})


def view(*stages: StageView) -> ClusterView:
    return ClusterView(namespace="ml", stages=stages)


def record(state: State | None = None, **tombstones: bool) -> RunRecord:
    status = made.status().model_copy(update={"state": state}) if state else None
    return replace(
        RunRecord(made.RUN_ID, made.START), status=status, tombstones=Tombstones(**tombstones)
    )


@pytest.mark.parametrize(
    ("found", "seen", "want"),
    [
        pytest.param(record("running"), None, "running", id="no-cluster"),
        pytest.param(record(), view(stage("pending")), "pending", id="not-started"),
        pytest.param(record("running"), view(stage("failed")), "failed", id="killed"),
        pytest.param(record("stopped"), view(stage("pending")), "pending", id="goes-on"),
        pytest.param(record("failed"), view(stage("retrying")), "pending", id="tried-again"),
        pytest.param(record("failed"), view(stage("running")), "running", id="runs-again"),
        pytest.param(
            record("running", cancelled=True), view(stage("stopping")), "cancelled", id="cancelled"
        ),
        pytest.param(record("running", success=True), view(), "succeeded", id="published"),
        pytest.param(record("stopped"), view(), "stopped", id="jobs-are-gone"),
    ],
)
def test_the_state_is_what_both_know(
    found: RunRecord, seen: ClusterView | None, want: State
) -> None:
    assert joined_state(found, seen) == want


def test_each_stage_says_where_it_is_and_why_it_waits() -> None:
    seen = view(
        stage("running", pod="p-1", node="n-1", failures=1, last_failure=NO_GPU),
        stage("waiting", "convert", pod="p-2"),
    )

    assert place_lines(seen) == [
        "cluster    namespace ml",
        "  train    running after 1 failed attempt(s)  pod p-1 on n-1",
        "           the last attempt: no node can take the pod",
        "  convert  waits for the stage before  pod p-2",
    ]
    assert place_lines(view(stage("pending", reason=NO_GPU))) == [
        "cluster    namespace ml",
        "  train    pending",
        "           no node can take the pod",
        "           Lower cluster.gpus.",
    ]
    assert place_lines(view()) == ["cluster    namespace ml: nothing of the run is there"]


def test_one_line_names_the_stage_that_is_not_done() -> None:
    assert place_words(view(stage("succeeded"), stage("pending", "convert", reason=NO_GPU))) == (
        "convert pending: no node can take the pod"
    )
    assert place_words(view(stage("succeeded"), stage("succeeded", "convert"))) == ""
