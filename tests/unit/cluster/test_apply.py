"""The pod that is asked about before its Job is created."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ftctl.cluster.apply import pod_of
from ftctl.cluster.kinds import JOB, kind_of
from ftctl.cluster.listing import standing
from ftctl.errors import ManifestError

SPEC = {"serviceAccountName": "run-1", "containers": [{"name": "train", "image": "x:1"}]}
TRAIN: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "run-1-train-0a1b2", "namespace": "team-a"},
    "spec": {"template": {"metadata": {"labels": {"ftctl.dev/stage": "train"}}, "spec": SPEC}},
}
ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "run-1", "namespace": "team-a"},
}


def test_the_pod_of_a_job_is_its_template() -> None:
    before = copy.deepcopy(TRAIN)

    assert pod_of(TRAIN) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": {"ftctl.dev/stage": "train"},
            "generateName": "run-1-train-0a1b2-",
            "namespace": "team-a",
        },
        "spec": SPEC,
    }
    assert before == TRAIN


def test_a_service_account_that_is_yet_to_come_is_left_out_of_the_question() -> None:
    assert pod_of(TRAIN, [ACCOUNT, TRAIN])["spec"] == {"containers": SPEC["containers"]}


def test_only_known_kinds_are_created() -> None:
    assert kind_of(TRAIN) is JOB
    with pytest.raises(ManifestError, match="batch/v1beta1 Job is not known here"):
        kind_of({**TRAIN, "apiVersion": "batch/v1beta1"})


def job(stage: str, *conditions: str, ready: int = 0) -> dict[str, Any]:
    """What a list reads of a Job."""
    return {
        "metadata": {
            "labels": {"ftctl.dev/stage": stage},
            "creationTimestamp": "2026-03-01T14:00:00Z",
        },
        "spec": {},
        "status": {
            "ready": ready,
            "conditions": [{"type": kind, "status": "True"} for kind in conditions],
        },
    }


@pytest.mark.parametrize(
    ("jobs", "want"),
    [
        pytest.param([job("train", ready=1), job("convert")], ("train", "running"), id="training"),
        pytest.param([job("train"), job("convert")], ("train", "pending"), id="pending"),
        pytest.param(
            [job("train", "Complete"), job("convert", ready=1)],
            ("convert", "running"),
            id="converting",
        ),
        pytest.param(
            [job("train", "Failed"), job("convert", ready=1)], ("train", "failed"), id="failed"
        ),
        pytest.param(
            [job("train", "Complete"), job("convert", "Complete")],
            ("convert", "succeeded"),
            id="done",
        ),
    ],
)
def test_the_jobs_of_a_run_are_one_state(jobs: list[dict[str, Any]], want: tuple[str, str]) -> None:
    assert standing(jobs) == want
