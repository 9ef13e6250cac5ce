"""Runs in a queue of Kueue that has room for one GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.engine import serves
from ftctl.contract.labels import run_selector
from ftctl.contract.layout import RunLayout
from ftctl.report.collect import collect_status
from tests.e2e.cluster.laptop import NOWHERE, STEPS, Laptop, stage_of, until
from tests.e2e.cluster.queues import NAME, Queue, one_gpu

QUEUED = ("cluster.gpus=1", f"cluster.queue={NAME}")
FIRST_CHECKPOINT = 2
_RUN_S = 900


@pytest.fixture
def queue(cluster: Cluster, namespace: str, gpu: None) -> Iterator[Queue]:
    """The queue `team` of the namespace."""
    if not serves(cluster, kinds.LOCAL_QUEUE):
        pytest.skip("the cluster has no Kueue")
    with one_gpu(namespace) as found:
        yield found


def train_of(laptop: Laptop, run_id: str) -> tuple[str, str]:
    """State of the train stage, and why it does not go on."""
    stage = stage_of(laptop.status(run_id), "train")
    return stage.get("state", "none"), (stage.get("reason") or {}).get("what", "")


def test_runs_go_one_after_the_other_and_know_their_place(laptop: Laptop, queue: Queue) -> None:
    first = laptop.submit(*QUEUED, NOWHERE)
    until(lambda: train_of(laptop, first)[0], lambda state: state == "pending", 60)
    second = laptop.submit(*QUEUED, NOWHERE, "training.learning_rate=1e-3")
    third = laptop.submit(*QUEUED, NOWHERE, "training.learning_rate=2e-3")

    for run_id, place in ((second, 1), (third, 2)):
        look = partial(train_of, laptop, run_id)
        state, why = until(look, lambda found: "place" in found[1], 60)
        said = f"it waits in the queue {NAME}, place {place}"
        assert (state, why.partition(":")[0]) == ("queued", said)

    assert laptop.ftctl("cancel", first, *laptop.storage).code == 0
    until(lambda: train_of(laptop, second)[0], lambda state: state == "pending", 60)
    assert train_of(laptop, third)[0] == "queued"


def test_pods_that_train_together_are_admitted_together(
    laptop: Laptop, queue: Queue, cluster: Cluster
) -> None:
    """The quota has room for one of two."""
    run_id = laptop.submit(*QUEUED, "cluster.nodes=2")

    look = partial(train_of, laptop, run_id)
    until(look, lambda found: "insufficient" in found[1] and "nvidia.com/gpu" in found[1], 60)

    assert look()[0] == "queued"
    selector = run_selector(run_id, "train")
    assert list(cluster.list(kinds.POD, laptop.namespace, labels=selector)) == []


def test_a_run_that_is_preempted_goes_on_from_its_checkpoint(
    laptop: Laptop, queue: Queue, cluster: Cluster
) -> None:
    engine = "jobset" if serves(cluster, kinds.JOB_SET) else "job"
    laptop = replace(laptop, engine=engine)
    low = laptop.submit(*QUEUED, *STEPS, f"cluster.priority={queue.low}")
    store = laptop.store()
    saved = f"{RunLayout(low).checkpoint(FIRST_CHECKPOINT)}_COMPLETE"
    until(lambda: store.stat(saved), bool, _RUN_S)

    # The same inputs again, undisturbed: what the first should end in.
    high = laptop.submit("--new", *QUEUED, *STEPS, f"cluster.priority={queue.high}")

    until(lambda: train_of(laptop, low)[0], lambda state: state == "queued", 120)
    ends = [RunLayout(run_id).success for run_id in (high, low)]
    until(lambda: all(map(store.stat, ends)), bool, _RUN_S)
    [resumed_from] = [
        event.data["step"] for event in collect_status(store, low).events if event.kind == "resumed"
    ]
    assert resumed_from >= FIRST_CHECKPOINT
    weights = [
        store.read(f"{RunLayout(run_id).adapter}adapter_model.safetensors")
        for run_id in (low, high)
    ]
    assert weights[0] == weights[1]
