"""
The launcher's work on a store and a cluster that keeps what it is given.

The cluster stands for an API server alone: what controllers and pods do, the tests do.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.failures import UnreachableError
from ftctl.cluster.launcher import start_launcher, stop_launcher
from ftctl.commands.sweep_children import conclude
from ftctl.commands.sweep_launch import Launching
from ftctl.contract.labels import RUN
from ftctl.contract.layout import RunLayout, SweepLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Metrics, now
from ftctl.contract.sweep import Axis, Child, Sweep
from ftctl.errors import StorageError, UsageError
from ftctl.manifests.launcher import launcher_objects
from ftctl.manifests.run import run_objects
from ftctl.runs.vary import varied
from ftctl.storage.aliases import point, read_alias
from ftctl.storage.base import ConflictError
from ftctl.storage.find import find_run
from ftctl.storage.folder import FolderStore
from ftctl.storage.runs import register
from ftctl.storage.sweeps import (
    add_child,
    cancel_sweep,
    find_sweep,
    read_sweep,
    register_sweep,
)
from ftctl.storage.tombstones import find_tombstone
from tests.integration.taking_api import Api
from tests.report_stores import json_lines
from tests.run_files import a_run
from tests.unit.cluster.memory_api import path_of

RATES = ["1e-05", "3e-05", "0.0001", "0.0003", "0.001", "0.003"]
SWEEP_ID = "demo-sweep-0123456789ab"


@pytest.fixture
def api() -> Api:
    return Api([])


@pytest.fixture
def cluster(api: Api) -> Cluster:
    return Cluster(api, context="lab")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def runs(store: FolderStore) -> list[RunFile]:
    """Children that the store has."""
    base = a_run(cluster={"namespace": "ml", "engine": "job"})
    found = [varied(base, {"training.learning_rate": float(rate)}) for rate in RATES]
    return [register(store, run) for run in found]


def a_sweep(runs: list[RunFile], *, stop_bad: bool = False) -> Sweep:
    key = "training.learning_rate"
    return Sweep(
        sweep_id=SWEEP_ID,
        content_hash="0" * 64,
        created=now(),
        objective="loss",
        stop_bad=stop_bad,
        alias="demo-best",
        axes=[Axis(key=key, values=RATES)],
        children=[
            Child(run_id=run.run_id, values={key: rate})
            for run, rate in zip(runs, RATES, strict=True)
        ],
    )


def launching(store: FolderStore, cluster: Cluster, sweep: Sweep, parallel: int = 2) -> Launching:
    register_sweep(store, sweep)
    return Launching(store, cluster, sweep, parallel=parallel, say=lambda _: None)


def in_cluster(cluster: Cluster) -> list[str]:
    """The runs that have Jobs, in the order they were created."""
    jobs = cluster.list(kinds.JOB, "ml")
    return list(dict.fromkeys(job["metadata"]["labels"][RUN] for job in jobs))


def going_on(store: FolderStore, cluster: Cluster) -> list[str]:
    done = (store.stat(RunLayout(run_id).success) for run_id in in_cluster(cluster))
    return [run_id for run_id, end in zip(in_cluster(cluster), done, strict=True) if not end]


def publish(store: FolderStore, run_id: str, loss: float) -> None:
    """What the stages of a run leave, as far as a sweep reads it."""
    put_metrics(store, run_id, loss)
    store.write(RunLayout(run_id).success, b"{}")


def put_metrics(store: FolderStore, run_id: str, *losses: float) -> None:
    lines = [
        Metrics(step=10 * number, epoch=1, eval_loss=loss)
        for number, loss in enumerate(losses, start=1)
    ]
    store.write(RunLayout(run_id).metrics, json_lines(lines))


def test_at_most_so_many_go_on_and_all_are_had(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    sweep, most = a_sweep(runs), 0
    work = launching(store, cluster, sweep)

    for loss in itertools.count(1):
        work.look()
        active = going_on(store, cluster)
        most = max(most, len(active))
        if work.is_done:
            break
        publish(store, active[0], float(loss))
        api.complete(active[0])

    conclude(store, sweep.sweep_id)
    assert most == 2
    assert set(in_cluster(cluster)) == {run.run_id for run in runs}
    alias = read_alias(store, "demo-best")
    assert alias is not None
    assert alias.run_id == runs[0].run_id
    assert find_run(store, "demo-best") == runs[0].run_id
    assert b"<svg" in store.read(SweepLayout(SWEEP_ID).report)


def test_a_published_run_counts_until_its_pods_have_ended(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    work = launching(store, cluster, a_sweep(runs))
    work.look()
    first = in_cluster(cluster)[0]
    publish(store, first, 1.0)

    work.look()
    assert len(in_cluster(cluster)) == 2

    api.complete(first)
    work.look()
    assert len(in_cluster(cluster)) == 3


def test_what_is_created_is_what_render_prints(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    launching(store, cluster, a_sweep(runs), parallel=1).look()

    wanted = {path_of(body): body for body in run_objects(runs[0])}
    found = {path: dict(body) for path, body in api.objects.items()}
    for body in found.values():
        body["metadata"] = {
            key: value
            for key, value in body["metadata"].items()
            if key not in ("uid", "creationTimestamp")
        }
    assert found == wanted


def test_runs_of_a_release_go_with_it(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    meta = {"name": "demo-owner", "namespace": "ml"}
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    sweep = register_sweep(store, a_sweep(runs))
    work = Launching(store, cluster, sweep, parallel=1, owner="demo-owner", say=lambda _: None)

    work.look()

    made = [body for body in api.objects.values() if body["metadata"]["name"] != "demo-owner"]
    owners = {body["metadata"]["ownerReferences"][0]["name"] for body in made}
    assert (len(made), owners) == (5, {"demo-owner"})


def test_a_child_that_the_cluster_did_not_take_has_its_turn_again(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    work = launching(store, cluster, a_sweep(runs), parallel=1)
    api.out_of_reach = True
    with pytest.raises(UnreachableError):
        work.look()
    assert in_cluster(cluster) == []

    api.out_of_reach = False
    work.look()

    assert in_cluster(cluster) == [runs[0].run_id]


def test_another_launcher_takes_over_what_goes_on(
    store: FolderStore, cluster: Cluster, runs: list[RunFile]
) -> None:
    sweep = a_sweep(runs)
    launching(store, cluster, sweep).look()
    first = in_cluster(cluster)
    publish(store, first[0], 1.0)

    other = launching(store, cluster, sweep)
    other.look()

    assert len(going_on(store, cluster)) == 2
    assert set(first) < set(in_cluster(cluster))
    assert len(in_cluster(cluster)) == 3


def test_a_child_that_falls_behind_is_stopped_and_its_place_is_taken(
    store: FolderStore, cluster: Cluster, runs: list[RunFile]
) -> None:
    for run in runs[:3]:
        publish(store, run.run_id, 1.0)
    work = launching(store, cluster, a_sweep(runs, stop_bad=True), parallel=1)
    work.look()
    bad = runs[3].run_id
    put_metrics(store, bad, 2.0)

    work.look()
    work.look()

    tombstone = find_tombstone(store, RunLayout(bad))
    assert tombstone is not None
    assert (tombstone.kind, "the median of 3 others 1.000" in tombstone.reason) == (
        "cancelled",
        True,
    )
    assert in_cluster(cluster) == [runs[4].run_id]


def test_without_the_option_nothing_is_stopped(
    store: FolderStore, cluster: Cluster, runs: list[RunFile]
) -> None:
    for run in runs[:3]:
        publish(store, run.run_id, 1.0)
    work = launching(store, cluster, a_sweep(runs), parallel=1)
    work.look()
    put_metrics(store, runs[3].run_id, 2.0)

    work.look()

    assert find_tombstone(store, RunLayout(runs[3].run_id)) is None
    assert in_cluster(cluster) == [runs[3].run_id]


def test_a_cancelled_sweep_starts_nothing_more(
    store: FolderStore, cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    work = launching(store, cluster, a_sweep(runs), parallel=1)
    work.look()
    cancel_sweep(store, SWEEP_ID)
    publish(store, runs[0].run_id, 1.0)
    api.complete(runs[0].run_id)

    work.look()

    assert work.is_done
    assert in_cluster(cluster) == [runs[0].run_id]


def test_a_launcher_with_other_settings_replaces_the_one_before(
    cluster: Cluster, api: Api, runs: list[RunFile]
) -> None:
    for parallel in (2, 3):
        objects = launcher_objects(runs[0], SWEEP_ID, parallel=parallel)
        start_launcher(cluster, "ml", SWEEP_ID, objects)
        [job] = cluster.list(kinds.JOB, "ml")
        assert job["metadata"]["name"] == objects[-1]["metadata"]["name"]

    assert stop_launcher(cluster, "ml", SWEEP_ID) == [job["metadata"]["name"]]
    assert api.objects == {}


def test_two_processes_do_not_both_add_to_a_search(store: FolderStore, runs: list[RunFile]) -> None:
    sweep = register_sweep(store, a_sweep(runs))
    more = Child(run_id="demo-ffffffffffff", values={})
    grown = add_child(store, sweep, more)

    assert read_sweep(store, SWEEP_ID) == grown
    with pytest.raises(ConflictError, match="goes on elsewhere"):
        add_child(store, sweep, more)


def test_a_sweep_is_found_by_its_beginning_and_keeps_what_it_has(
    store: FolderStore, runs: list[RunFile]
) -> None:
    known = register_sweep(store, a_sweep(runs))

    again = a_sweep(runs).model_copy(update={"children": [], "alias": "other"})
    assert register_sweep(store, again) == known.model_copy(update={"alias": "other"})
    assert find_sweep(store, "demo-sw").sweep_id == SWEEP_ID
    with pytest.raises(UsageError, match="there are: demo-sweep-0123456789ab"):
        find_sweep(store, "none")


def test_a_name_moves_to_another_run_and_is_left_where_it_stays(store: FolderStore) -> None:
    point(store, "support-best", "demo-000000000001", "first-sweep")
    point(store, "support-best", "demo-000000000001", "second-sweep")
    alias = read_alias(store, "support-best")
    assert alias is not None
    assert (alias.run_id, alias.sweep_id) == ("demo-000000000001", "first-sweep")

    point(store, "support-best", "demo-000000000002", "second-sweep")
    alias = read_alias(store, "support-best")
    assert alias is not None
    assert (alias.run_id, alias.sweep_id) == ("demo-000000000002", "second-sweep")


def test_a_sweep_of_the_same_digits_and_other_runs_is_refused(
    store: FolderStore, runs: list[RunFile]
) -> None:
    register_sweep(store, a_sweep(runs))
    other = a_sweep(runs).model_copy(update={"content_hash": "1" * 64})

    with pytest.raises(StorageError, match="another sweep of this id has hash 0000"):
        register_sweep(store, other)
    assert read_sweep(store, SWEEP_ID) == a_sweep(runs).model_copy(
        update={"created": read_sweep(store, SWEEP_ID).created}
    )
