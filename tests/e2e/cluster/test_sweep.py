"""A sweep in a real cluster: its launcher goes on when the client is gone."""

from __future__ import annotations

import time

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.observed import condition
from ftctl.contract.labels import RUN, all_selector, launcher_selector
from ftctl.storage.aliases import read_alias
from ftctl.storage.sweeps import read_sweep
from tests.e2e.cluster.laptop import NOWHERE, STEPS, Laptop, until

SWEPT = ("training.learning_rate=2e-4,4e-4,6e-4", "model.lora_r=4,8")
SEARCHED = ("training.learning_rate=tag(log,interval(1e-4,1e-3))", "model.lora_r=interval(4,8)")
AT_ONCE = 2
_SWEEP_S = 2400
_STOP_S = 300


def begin(laptop: Laptop, *arguments: str) -> str:
    """Hand a sweep to its launcher; return its id. The client has ended."""
    done = laptop.ftctl(
        "sweep", "--yes", f"--parallel={AT_ONCE}", "--alias=e2e-best", *arguments, *laptop.settings
    )
    assert done.code == 0, done.stderr
    return done.stdout.split()[-1]


def alive(cluster: Cluster, laptop: Laptop) -> set[str]:
    """The runs with a Job that has not ended."""
    jobs = cluster.list(kinds.JOB, laptop.namespace, labels=all_selector())
    return {
        job["metadata"]["labels"][RUN]
        for job in jobs
        if not condition(job, "Complete") and not condition(job, "Failed")
    }


def launcher_ended(cluster: Cluster, laptop: Laptop, sweep_id: str) -> bool:
    jobs = list(cluster.list(kinds.JOB, laptop.namespace, labels=launcher_selector(sweep_id)))
    return bool(jobs) and bool(condition(jobs[0], "Complete") or condition(jobs[0], "Failed"))


def assert_chosen(runs: list[dict[str, str]]) -> None:
    """Each has values of its own, from the ranges that are searched."""
    assert len({tuple(values.values()) for values in runs}) == len(runs)
    for values in runs:
        assert 1e-4 <= float(values["training.learning_rate"]) <= 1e-3
        assert 4 <= int(values["model.lora_r"]) <= 8


@pytest.mark.long
def test_six_runs_two_at_once_give_a_table_and_the_best(laptop: Laptop, cluster: Cluster) -> None:
    sweep_id = begin(laptop, *STEPS, *SWEPT)

    most, deadline = 0, time.monotonic() + _SWEEP_S
    while not launcher_ended(cluster, laptop, sweep_id):
        most = max(most, len(alive(cluster, laptop)))
        assert time.monotonic() < deadline, laptop.ftctl("sweep", sweep_id, *laptop.storage).stdout
        time.sleep(2)

    told = laptop.ftctl("sweep", sweep_id, "--json", *laptop.storage)
    assert told.code == 0, told.stderr
    assert [run["state"] for run in told.values["runs"]] == ["succeeded"] * 6
    assert most == AT_ONCE
    alias = read_alias(laptop.store(), "e2e-best")
    assert alias is not None
    assert alias.run_id == told.values["best"] == told.values["runs"][0]["run_id"]
    assert laptop.status("e2e-best")["state"] == "succeeded"

    # The same again: the launcher finds all of them published.
    assert begin(laptop, *STEPS, *SWEPT) == sweep_id
    until(lambda: launcher_ended(cluster, laptop, sweep_id), bool, _STOP_S)
    assert alive(cluster, laptop) == set()


@pytest.mark.long
def test_a_search_of_four_gives_the_best(laptop: Laptop, cluster: Cluster) -> None:
    sweep_id = begin(laptop, "--search=4", *STEPS, *SEARCHED)
    until(lambda: launcher_ended(cluster, laptop, sweep_id), bool, _SWEEP_S)

    told = laptop.ftctl("sweep", sweep_id, "--json", *laptop.storage)

    assert told.code == 0, told.stderr
    runs = told.values["runs"]
    assert [run["state"] for run in runs] == ["succeeded"] * 4
    assert_chosen([run["values"] for run in runs])
    alias = read_alias(laptop.store(), "e2e-best")
    assert alias is not None
    assert alias.run_id == told.values["best"] == runs[0]["run_id"]


def test_the_launcher_chooses_the_runs_of_a_search(laptop: Laptop, cluster: Cluster) -> None:
    """By what is in its image. No node takes the runs, which stay as they are."""
    nowhere = (NOWHERE, "cluster.node_selector_convert={}")
    sweep_id = begin(laptop, "--search=4", *SEARCHED, *nowhere)

    until(lambda: alive(cluster, laptop), lambda runs: len(runs) == AT_ONCE, _STOP_S)

    sweep = read_sweep(laptop.store(), sweep_id)
    assert {child.run_id for child in sweep.children} == alive(cluster, laptop)
    assert_chosen([child.values for child in sweep.children])


def test_a_sweep_that_is_cancelled_leaves_nothing_running(laptop: Laptop, cluster: Cluster) -> None:
    sweep_id = begin(laptop, "training.max_steps=500", *SWEPT)
    until(lambda: alive(cluster, laptop), lambda runs: len(runs) == AT_ONCE, _STOP_S)

    done = laptop.ftctl("sweep", sweep_id, "--cancel", "--json", *laptop.storage)

    assert done.code == 0, done.stderr
    assert done.values["cancelled"] is True
    until(lambda: alive(cluster, laptop), lambda runs: not runs, _STOP_S)
    jobs = cluster.list(kinds.JOB, laptop.namespace, labels=launcher_selector(sweep_id))
    assert list(jobs) == []
    states = [run["state"] for run in done.values["runs"]]
    assert states.count("cancelled") == AT_ONCE
    assert states.count("pending") == 4
