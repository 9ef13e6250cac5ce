"""Runs that are one JobSet, in a cluster that has its controller."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.engine import serves
from ftctl.cluster.kinds import Object
from ftctl.contract.labels import run_selector
from ftctl.contract.layout import RunLayout
from tests.e2e.cluster.laptop import NOWHERE, Laptop, stage_of, until

_RUN_S = 600


@pytest.fixture
def with_sets(cluster: Cluster, laptop: Laptop) -> Laptop:
    """A laptop that leaves the engine open."""
    if not serves(cluster, kinds.JOB_SET):
        pytest.skip("the cluster has no JobSet")
    return replace(laptop, engine="auto")


def sets(cluster: Cluster, laptop: Laptop, run_id: str) -> list[Object]:
    return list(cluster.list(kinds.JOB_SET, laptop.namespace, labels=run_selector(run_id)))


def stages(laptop: Laptop, run_id: str) -> list[str]:
    status = laptop.status(run_id)
    return [stage_of(status, stage).get("state", "none") for stage in ("train", "convert")]


def test_the_convert_stage_starts_when_the_train_stage_is_done(
    cluster: Cluster, with_sets: Laptop
) -> None:
    run_id = with_sets.submit()
    namespace, selector = with_sets.namespace, run_selector(run_id, "convert")
    assert stages(with_sets, run_id)[1] == "waiting"
    keys, store = RunLayout(run_id), with_sets.store()
    until(lambda: store.stat(f"{keys.adapter}_COMPLETE"), bool, _RUN_S)
    again = with_sets.ftctl("submit", "--yes", *with_sets.settings)
    assert "is running already, in" in again.stderr
    until(lambda: stages(with_sets, run_id), lambda found: found == ["succeeded"] * 2, _RUN_S)

    assert store.stat(keys.success) is not None
    [job_set] = sets(cluster, with_sets, run_id)
    assert job_set["status"]["terminalState"] == "Completed"
    [convert] = cluster.list(kinds.JOB, namespace, labels=selector)
    [train] = cluster.list(kinds.JOB, namespace, labels=run_selector(run_id, "train"))
    assert convert["metadata"]["creationTimestamp"] >= train["status"]["completionTime"]
    gone = with_sets.ftctl(
        "gc", "--yes", "--older-than", "0", *with_sets.storage, *_place(with_sets)
    )
    assert gone.code == 0, gone.stderr


def test_it_is_cancelled_and_resumed_as_a_whole(cluster: Cluster, with_sets: Laptop) -> None:
    run_id = with_sets.submit(NOWHERE)
    until(lambda: stages(with_sets, run_id), lambda found: found == ["pending", "waiting"], 60)

    cancelled = with_sets.ftctl("cancel", run_id, *with_sets.storage)
    assert cancelled.code == 0, cancelled.stderr
    assert sets(cluster, with_sets, run_id) == []
    assert list(cluster.list(kinds.JOB, with_sets.namespace)) == []

    resumed = with_sets.ftctl("resume", "--yes", run_id, *with_sets.storage)
    assert resumed.code == 0, resumed.stderr
    [job_set] = sets(cluster, with_sets, run_id)
    more = "cluster.resources.train.memory=5Gi"
    with_sets.ftctl("cancel", run_id, *with_sets.storage)
    assert with_sets.ftctl("resume", "--yes", run_id, more, *with_sets.storage).code == 0
    [other] = sets(cluster, with_sets, run_id)
    assert other["metadata"]["name"] != job_set["metadata"]["name"]


def _place(laptop: Laptop) -> list[str]:
    return [f"cluster.namespace={laptop.namespace}"]
