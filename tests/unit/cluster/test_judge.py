"""The state of a run that goes on, from recordings of a real cluster."""

from __future__ import annotations

import copy

import pytest

from ftctl.cluster.judge import judge
from ftctl.cluster.observed import Observed
from ftctl.contract.clusterview import ClusterView
from tests.unit.cluster.recordings import reason, recorded, view


@pytest.mark.parametrize(
    ("case", "state"),
    [
        pytest.param("running", "running", id="running"),
        pytest.param("disrupted", "running", id="a-pod-that-followed-an-evicted-one"),
        pytest.param("waiting", "waiting", id="a-stage-behind-another"),
    ],
)
def test_a_run_that_goes_on_needs_no_reason(case: str, state: str) -> None:
    found = view(recorded(case))

    assert (found.state, found.reason, found.last_failure, found.failures) == (
        state,
        None,
        None,
        0,
    )


def test_a_job_that_is_being_deleted_is_stopping() -> None:
    found = recorded("running")
    found["jobs"][0]["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"

    assert view(found).state == "stopping"


def test_a_suspended_job_waits_for_a_queue() -> None:
    found = view(recorded("suspended"))

    assert (found.state, found.reason) == (
        "queued",
        reason(
            "Suspended",
            "the Job is suspended",
            "A queue (cluster.queue) starts it when it is its turn.",
        ),
    )


def test_the_newest_job_of_a_stage_counts() -> None:
    found = recorded("running")
    older = copy.deepcopy(recorded("oom")["jobs"][0])
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    found["jobs"].append(older)

    assert view(found).state == "running"


def test_nothing_in_the_cluster_is_no_stages() -> None:
    assert judge("team-a", Observed()) == ClusterView(namespace="team-a")
