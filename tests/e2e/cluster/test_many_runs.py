"""A sweep of hundreds, whose runs go to simulated nodes; its launcher is a real pod."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import condition
from ftctl.contract.labels import RUN, all_selector, launcher_selector
from ftctl.contract.layout import RunLayout
from ftctl.contract.status import Metrics
from ftctl.storage.aliases import read_alias
from ftctl.storage.base import Store
from tests.e2e.cluster.laptop import Laptop, until
from tests.e2e.cluster.simulated import TAINT, closed, simulated_nodes
from tests.e2e.cluster.test_sweep import launcher_ended
from tests.report_stores import json_lines

RUNS, AT_ONCE = 500, 20
SWEPT = (
    "training.learning_rate=" + ",".join(f"{n}e-5" for n in range(1, 51)),
    "model.lora_r=range(4,14)",
)
# No real node here has so much memory, and simulated ones have no disk; the launcher needs little.
ELSEWHERE = (
    "cluster.resources.train={memory: 100Gi, ephemeral_storage: '0'}",
    "cluster.resources.convert={memory: 100Gi, ephemeral_storage: '0'}",
    f"cluster.tolerations=[{{key: {TAINT}, operator: Exists}}]",
)
SUBMITTED_WITHIN_S = 30
_LAUNCH_S = 300
# The launcher looks every five seconds.
_LOOKS_S = 20
_ALL_S = 2400


@pytest.mark.long
def test_hundreds_are_handed_over_in_seconds_and_at_most_so_many_go_on(
    cluster: Cluster, laptop: Laptop
) -> None:
    nodes = simulated_nodes(cluster)
    if not nodes:
        pytest.skip("the cluster has no simulated nodes")
    with closed(nodes):
        begun = time.monotonic()
        done = laptop.ftctl(
            "sweep",
            "--yes",
            f"--parallel={AT_ONCE}",
            "--alias=e2e-best",
            *laptop.settings,
            *ELSEWHERE,
            *SWEPT,
        )
        took_s = time.monotonic() - begun
        assert done.code == 0, done.stderr
        sweep_id = done.stdout.split()[-1]
        sys.stderr.write(f"handed over in {took_s:.1f} s\n")
        assert took_s <= SUBMITTED_WITHIN_S
        assert held(cluster, laptop) == AT_ONCE
    begun, published = time.monotonic(), set[str]()
    until(lambda: publish(cluster, laptop, published), lambda count: count >= RUNS // 2, _ALL_S)
    with closed(nodes):
        assert held(cluster, laptop) == AT_ONCE
    until(lambda: publish(cluster, laptop, published), lambda count: count == RUNS, _ALL_S)
    sys.stderr.write(f"the others had ended {time.monotonic() - begun:.0f} s later\n")

    until(lambda: launcher_ended(cluster, laptop, sweep_id), bool, _LAUNCH_S)
    [job] = cluster.list(kinds.JOB, laptop.namespace, labels=launcher_selector(sweep_id))
    assert condition(job, "Complete")
    assert not job["status"].get("failed")
    assert most_at_once(jobs_by_run(cluster, laptop)) == AT_ONCE
    told = laptop.ftctl("sweep", sweep_id, "--json", *laptop.storage).values
    assert [run["state"] for run in told["runs"]] == ["succeeded"] * RUNS
    alias = read_alias(laptop.store(), "e2e-best")
    assert alias is not None
    assert alias.run_id == told["best"]


def jobs_by_run(cluster: Cluster, laptop: Laptop) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for job in cluster.list(kinds.JOB, laptop.namespace, labels=all_selector()):
        found.setdefault(job["metadata"]["labels"][RUN], []).append(job)
    return found


def going_on(cluster: Cluster, laptop: Laptop) -> set[str]:
    """The runs with a Job that has not ended."""
    runs = jobs_by_run(cluster, laptop)
    return {
        run_id
        for run_id, jobs in runs.items()
        if not all(condition(job, "Complete") for job in jobs)
    }


def held(cluster: Cluster, laptop: Laptop) -> int:
    """How many go on where none can end, when the launcher has looked some times more."""
    until(lambda: going_on(cluster, laptop), lambda runs: len(runs) >= AT_ONCE, _LAUNCH_S)
    time.sleep(_LOOKS_S)
    return len(going_on(cluster, laptop))


def publish(cluster: Cluster, laptop: Laptop, published: set[str]) -> int:
    """Leave in the store what stages leave there, of runs whose pods have ended; how many have."""
    store = laptop.store()
    for run_id, jobs in jobs_by_run(cluster, laptop).items():
        if (
            run_id not in published
            and len(jobs) == 2
            and all(condition(job, "Complete") for job in jobs)
        ):
            _publish(store, run_id, 1 + len(published))
            published.add(run_id)
    return len(published)


def _publish(store: Store, run_id: str, loss: float) -> None:
    keys = RunLayout(run_id)
    store.write(keys.metrics, json_lines([Metrics(step=1, epoch=1, eval_loss=loss)]))
    store.write(keys.success, b"{}")


def most_at_once(runs: Mapping[str, Sequence[Object]]) -> int:
    """How many went on at once at most, by the times that the cluster gave their Jobs."""
    spans = []
    for jobs in runs.values():
        begun = min(_time(job["metadata"]["creationTimestamp"]) for job in jobs)
        spans.append((begun, max(_time(job["status"]["completionTime"]) for job in jobs)))
    return max(sum(one <= begun < ended for one, ended in spans) for begun, _ in spans)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
