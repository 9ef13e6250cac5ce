"""Quotas that one stage fits, and two do not."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.cluster.quotas import crowded
from ftctl.manifests.run import run_objects
from tests.run_files import a_run
from tests.unit.cluster.memory_api import memory_cluster

# Each stage asks for 4 cores and 32Gi, which is also its limit; train for a GPU.
JOBS = [body for body in run_objects(a_run()) if body["kind"] == "Job"]
GPUS = "requests.nvidia.com/gpu"


def quota(hard: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = {"name": "runs", "namespace": "ml"}
    return {"kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard, **more}}


@pytest.mark.parametrize(
    ("hard", "named"),
    [
        pytest.param({"requests.cpu": "7"}, "(requests.cpu 7)", id="cores"),
        pytest.param({"cpu": "7500m"}, "(cpu 7500m)", id="the-short-name"),
        pytest.param({"limits.memory": "63Gi"}, "(limits.memory 63Gi)", id="limits"),
        pytest.param({"pods": "1", "memory": "1Gi"}, "(pods 1, memory 1Gi)", id="several"),
        pytest.param({"requests.cpu": "8", "memory": "64Gi", "pods": 2}, None, id="just-enough"),
        pytest.param({GPUS: "1", "count/secrets": "0"}, None, id="asked-for-once-or-never"),
    ],
)
def test_a_quota_for_one_stage_at_a_time_is_named(hard: dict[str, Any], named: str | None) -> None:
    notes = crowded(memory_cluster(quota(hard)), "ml", JOBS)

    if named is None:
        assert notes == []
        return
    [note] = notes
    assert note.startswith(f"the quota runs has no room for both stages at once {named}")


def test_a_quota_of_other_pods_or_one_that_may_not_be_seen_is_left_out() -> None:
    scoped = quota({"pods": "1"}, scopes=["BestEffort"])

    assert crowded(memory_cluster(scoped), "ml", JOBS) == []
    hidden = memory_cluster(quota({"pods": "1"}), forbidden=["resourcequotas"])
    assert crowded(hidden, "ml", JOBS) == []
