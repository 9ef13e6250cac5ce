"""What is made of a run that is a JobSet: the Jobs it has made, and those it will make."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ftctl.cluster.delete import delete_run
from ftctl.cluster.ended import ended_run
from ftctl.cluster.engine import with_engine
from ftctl.cluster.kinds import Object
from ftctl.cluster.observe import look
from ftctl.cluster.present import present_objects
from ftctl.contract.operational import ClusterConfig
from ftctl.errors import ClusterError
from ftctl.manifests.run import run_objects
from tests.run_files import RUN_ID, a_run
from tests.unit.cluster.memory_api import MemoryApi, memory_cluster

TIME = "2026-01-01T00:00:00Z"
DONE = [{"type": "Complete", "status": "True", "lastTransitionTime": TIME}]


def job_set(**status: Any) -> Object:
    """The run's JobSet as the API has it."""
    found: Object = run_objects(a_run(cluster={"namespace": "ml", "engine": "jobset"}))[-1]
    found["metadata"] |= {"uid": "set", "creationTimestamp": TIME}
    return {**found, "status": status}


def made(owner: Object, stage: str, **status: Any) -> Object:
    """The Job of a stage, as the controller makes it."""
    [template] = [
        one["template"] for one in owner["spec"]["replicatedJobs"] if one["name"] == stage
    ]
    name = owner["metadata"]["name"]
    labels = {**template["metadata"]["labels"], "jobset.sigs.k8s.io/jobset-name": name}
    suspended = {"suspend": owner["spec"].get("suspend", False)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name}-{stage}-0",
            "namespace": "ml",
            "uid": stage,
            "labels": labels,
            "creationTimestamp": TIME,
            "ownerReferences": [{"kind": "JobSet", "uid": "set", "controller": True}],
        },
        "spec": {**template["spec"], **suspended},
        "status": status,
    }


def states(*objects: Object) -> list[tuple[str, str]]:
    view = look(memory_cluster(*objects), "ml", RUN_ID)
    return [(stage.stage, stage.state) for stage in view.stages]


def test_a_stage_that_is_not_made_yet_waits() -> None:
    owner = job_set()

    assert states(owner, made(owner, "train")) == [("train", "pending"), ("convert", "waiting")]
    assert look(memory_cluster(owner, made(owner, "train")), "ml", RUN_ID).goes_on


def test_both_stages_are_shown_when_both_are_made() -> None:
    owner = job_set()
    train = made(owner, "train", conditions=DONE)

    found = states(owner, train, made(owner, "convert"))

    assert found == [("train", "succeeded"), ("convert", "pending")]


def test_what_failed_has_no_stage_to_come() -> None:
    failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
    owner = job_set(conditions=[{"type": "Failed", "status": "True"}])

    assert states(owner, made(owner, "train", conditions=failed)) == [("train", "failed")]


def test_one_that_a_queue_holds_says_its_place_in_it() -> None:
    owner = job_set()
    owner["spec"]["suspend"] = True
    admitted = {"conditions": [{"type": "QuotaReserved", "status": "True"}]}
    queue = [
        workload("mine", "set", second=2),
        workload("older", "a", second=1),
        workload("younger", "b", second=3),
        workload("higher", "c", second=4, priority=9),
        workload("admitted", "d", second=0, status=admitted),
        workload("elsewhere", "e", second=0, queue="other"),
    ]

    view = look(memory_cluster(owner, made(owner, "train"), *queue), "ml", RUN_ID)

    assert [stage.state for stage in view.stages] == ["queued", "queued"]
    assert {stage.reason and stage.reason.what for stage in view.stages} == {
        "it waits in the queue team, place 3"
    }


def workload(
    name: str,
    owner: str,
    *,
    second: int,
    priority: int = 0,
    queue: str = "team",
    status: Object | None = None,
) -> Object:
    """What Kueue makes of something that waits in a queue."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "Workload",
        "metadata": {
            "name": name,
            "namespace": "ml",
            "ownerReferences": [{"uid": owner}],
            "creationTimestamp": f"2026-01-01T00:00:0{second}Z",
        },
        "spec": {"queueName": queue, "priority": priority},
        "status": status or {},
    }


def test_its_jobs_are_its_own_and_go_with_it() -> None:
    owner = job_set()
    api = memory_cluster(owner, made(owner, "train"))

    assert [body["kind"] for body in present_objects(api, "ml", RUN_ID)] == ["JobSet"]
    assert delete_run(api, "ml", RUN_ID) == [f"JobSet {owner['metadata']['name']}"]


def test_it_has_ended_when_it_is_completed() -> None:
    ended = job_set(
        conditions=[{"type": "Completed", "status": "True", "lastTransitionTime": TIME}]
    )

    found = ended_run(memory_cluster(ended), "ml", RUN_ID)

    assert found is not None
    assert found.objects == (f"JobSet {ended['metadata']['name']}",)
    with pytest.raises(ClusterError, match="has not ended"):
        ended_run(memory_cluster(job_set()), "ml", RUN_ID)


class Api(MemoryApi):
    """An API that serves JobSets, or does not, to a user who may create them, or may not."""

    def __init__(self, *, served: bool, allowed: bool) -> None:
        super().__init__([])
        self._served, self._allowed = served, allowed

    def call_api(self, path: str, method: str, **more: Any) -> Object:
        if path.endswith("selfsubjectaccessreviews"):
            return {"status": {"allowed": self._allowed}}
        if path == "/apis/jobset.x-k8s.io/v1alpha2" and self._served:
            return {"resources": [{"name": "jobsets"}]}
        return super().call_api(path, method, **more)


@pytest.mark.parametrize(
    ("engine", "served", "allowed", "want"),
    [
        pytest.param("auto", True, True, "jobset", id="auto"),
        pytest.param("auto", False, True, "job", id="auto-without-jobset"),
        pytest.param("auto", True, False, "job", id="auto-without-permission"),
        pytest.param("job", True, True, "job", id="job"),
        pytest.param("jobset", False, False, "jobset", id="jobset"),
    ],
)
def test_auto_takes_jobset_where_it_can_be_used(
    engine: str, served: bool, allowed: bool, want: str
) -> None:
    from ftctl.cluster.client import Cluster

    cluster = Cluster(Api(served=served, allowed=allowed), context="lab")
    profile = ClusterConfig.model_validate({"engine": engine})

    assert with_engine(profile, cluster).engine == want


def test_what_is_looked_at_is_not_changed() -> None:
    owner = job_set()
    before = copy.deepcopy(owner)

    states(owner)

    assert owner == before
