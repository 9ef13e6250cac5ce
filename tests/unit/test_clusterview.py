"""What a cluster's view of a run says of the run as a whole."""

from __future__ import annotations

import pytest

from ftctl.contract.clusterview import ClusterView, StageState, StageView


def view(**states: StageState) -> ClusterView:
    stages = [
        {"stage": name, "job": f"run-{name}", "state": state} for name, state in states.items()
    ]
    return ClusterView(namespace="ml", stages=tuple(map(StageView.model_validate, stages)))


@pytest.mark.parametrize(
    ("seen", "want"),
    [
        pytest.param(view(train="queued", convert="queued"), True, id="in-a-queue"),
        pytest.param(view(train="running", convert="waiting"), True, id="trains"),
        pytest.param(view(train="succeeded", convert="retrying"), True, id="converts-again"),
        pytest.param(view(convert="running"), True, id="train-job-removed-after-its-end"),
        pytest.param(view(), False, id="nothing-there"),
        pytest.param(view(train="succeeded", convert="succeeded"), False, id="done"),
        pytest.param(view(train="failed", convert="waiting"), False, id="failed"),
        pytest.param(view(train="stopping", convert="stopping"), False, id="being-cancelled"),
        pytest.param(view(train="succeeded", convert="stopping"), False, id="convert-deleted"),
        pytest.param(view(train="running"), False, id="no-convert-job"),
        pytest.param(view(convert="waiting"), False, id="waits-for-a-deleted-train-job"),
    ],
)
def test_a_run_goes_on_if_nothing_has_to_be_created_for_its_end(
    seen: ClusterView, want: bool
) -> None:
    assert seen.goes_on is want
