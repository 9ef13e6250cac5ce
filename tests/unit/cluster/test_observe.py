"""What is seen of a run by somebody who may not see all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.observe import look
from tests.unit.cluster.memory_api import memory_cluster

RECORDED = Path(__file__).parent / "recorded"
KINDS = {"jobs": "Job", "pods": "Pod", "events": "Event"}


def recorded(case: str, *forbidden: str) -> tuple[Cluster, str]:
    """A cluster with a run that was recorded, and the run."""
    found = json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))
    objects = [
        {"kind": KINDS[key], **body, "metadata": {"name": f"{key}-{number}", **body["metadata"]}}
        for key in KINDS
        for number, body in enumerate(found[key])
    ]
    run_id: str = found["jobs"][0]["metadata"]["labels"]["ftctl.dev/run"]
    return memory_cluster(*objects, forbidden=forbidden), run_id


def test_a_run_is_shown_without_events_to_those_who_may_not_list_them() -> None:
    cluster, run_id = recorded("no-gpu", "events")

    [stage] = look(cluster, "team-a", run_id).stages

    assert stage.state == "pending"
    assert stage.reason is not None
    assert "nvidia.com/gpu" in stage.reason.what


def test_a_suspended_run_is_shown_to_those_who_may_not_look_into_the_queue() -> None:
    cluster, run_id = recorded("suspended", "workloads", "events")

    [stage] = look(cluster, "team-a", run_id).stages

    assert (stage.state, stage.reason and stage.reason.code) == ("queued", "Suspended")


def test_without_its_pods_nothing_can_be_said_of_a_run() -> None:
    cluster, run_id = recorded("no-gpu", "pods")

    with pytest.raises(ForbiddenError, match="jo may not get pods"):
        look(cluster, "team-a", run_id)
