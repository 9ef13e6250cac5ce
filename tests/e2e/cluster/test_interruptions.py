"""Pods deleted and killed, and the laptop gone: nothing is lost, and the end is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.labels import run_selector
from ftctl.contract.layout import RunLayout
from ftctl.report.collect import collect_status
from tests.e2e.cluster.conftest import new_namespace, reachable_server
from tests.e2e.cluster.exit_codes import watched_exit_codes
from tests.e2e.cluster.killing import kill
from tests.e2e.cluster.laptop import Laptop, stage_of, until
from tests.e2e.cluster.puts import Puts
from tests.integration.s3_server import BUCKET, Proxy, S3Server

STEPS, SAVE_STEPS = 12, 2
LONGER = (
    f"training.max_steps={STEPS}",
    f"training.save_steps={SAVE_STEPS}",
    f"training.eval_steps={STEPS}",
)
# For the whole pipeline, where the machine does other things too.
RUN_S = 900


@dataclass(frozen=True)
class Ended:
    """A run that nobody disturbed, and nobody looked after."""

    laptop: Laptop
    run_id: str

    def adapter(self) -> bytes:
        """The trained weights."""
        return adapter(self.laptop, self.run_id)


@pytest.fixture(scope="module")
def undisturbed(
    cluster: Cluster, keys: None, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ended]:
    """Submitted, and then left alone: no `ftctl` runs any more (2 min, once)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with reachable_server(cluster, folder) as s3, new_namespace(cluster) as namespace:
        laptop = Laptop.of(folder, namespace, s3.endpoint_url, images)
        run_id = laptop.submit(*LONGER)
        wait_until_published(laptop, run_id)
        yield Ended(laptop, run_id)


def test_a_run_needs_nobody_after_submit(undisturbed: Ended) -> None:
    laptop, run_id = undisturbed.laptop, undisturbed.run_id

    # The pod ends a moment after the run is published.
    until(
        lambda: [laptop.status(run_id)["state"], *stage_states(laptop, run_id)],
        lambda states: states == ["succeeded"] * 3,
        60,
    )
    done = laptop.ftctl("submit", "--yes", "--wait", *laptop.settings, *LONGER)
    assert done.code == 0
    assert f"{run_id} is published already" in done.stderr


def test_a_deleted_train_pod_goes_on_and_ends_in_the_same_adapter(
    cluster: Cluster, laptop: Laptop, undisturbed: Ended
) -> None:
    with watched_exit_codes(laptop.namespace) as exit_codes:
        run_id = laptop.submit(*LONGER)
        assert run_id == undisturbed.run_id
        with laptop.start("logs", "-f", run_id, "--json", *laptop.storage) as following:
            keys, store = RunLayout(run_id), laptop.store()
            until(lambda: store.stat(f"{keys.checkpoint(SAVE_STEPS)}_COMPLETE"), bool, RUN_S)
            [first] = pods(cluster, laptop, run_id, "train")
            cluster.delete(kinds.POD, first, laptop.namespace)
            wait_until_published(laptop, run_id)
            log, _ = following.communicate()

    assert exit_codes[f"{first}/train"] == 75
    [second] = pods(cluster, laptop, run_id, "train")
    assert exit_codes[f"{second}/train"] == 0
    assert stage_of(laptop.status(run_id), "train")["failures"] == 0

    [resumed_from] = [
        event.data["step"]
        for event in collect_status(store, run_id).events
        if event.kind == "resumed"
    ]
    assert SAVE_STEPS <= resumed_from < STEPS
    taken = steps_in(log)
    assert set(taken) == set(range(1, STEPS + 1))
    assert len(taken) <= STEPS + SAVE_STEPS
    assert adapter(laptop, run_id) == undisturbed.adapter()


def test_a_killed_convert_pod_is_tried_again_and_publishes_once(
    cluster: Cluster, laptop: Laptop, s3: S3Server, images: dict[str, str], tmp_path: Path
) -> None:
    puts = Puts()
    with (
        watched_exit_codes(laptop.namespace) as exit_codes,
        Proxy(s3.port, host=s3.host, sees=puts.see) as proxy,
    ):
        counted = Laptop.of(tmp_path, laptop.namespace, proxy.endpoint_url, images)
        run_id = counted.submit()
        until(lambda: events(laptop, run_id, "quantized"), bool, RUN_S)
        [killed] = pods(cluster, laptop, run_id, "convert")
        kill(laptop.namespace, killed, "convert")
        wait_until_published(laptop, run_id)

    assert exit_codes[f"{killed}/convert"] == 137
    assert len(pods(cluster, laptop, run_id, "convert")) == 2
    assert len(events(laptop, run_id, "quantized")) == 2
    convert = stage_of(laptop.status(run_id), "convert")
    assert (convert["failures"], convert["last_failure"]["code"]) == (1, "Exit137")
    keys, store = RunLayout(run_id), laptop.store()
    published = [item.key for item in store.list(keys.gguf)]
    assert [key for key in published if key.endswith(".gguf")]
    published += [keys.manifest, keys.report, keys.success]
    place = f"{BUCKET}/{laptop.namespace}"
    assert {key: puts.counts[f"{place}/{key}"] for key in published} == dict.fromkeys(published, 1)


def wait_until_published(laptop: Laptop, run_id: str) -> None:
    """Look at the store alone: nothing of the run depends on it."""
    keys, store = RunLayout(run_id), laptop.store()
    until(lambda: store.stat(keys.success), bool, RUN_S)


def stage_states(laptop: Laptop, run_id: str) -> list[str]:
    """How the cluster says that the stages stand."""
    status = laptop.status(run_id)
    return [stage_of(status, stage)["state"] for stage in ("train", "convert")]


def adapter(laptop: Laptop, run_id: str) -> bytes:
    """The trained weights of a run."""
    return laptop.store().read(f"{RunLayout(run_id).adapter}adapter_model.safetensors")


def pods(cluster: Cluster, laptop: Laptop, run_id: str, stage: str) -> list[str]:
    """Names of the pods that a stage has now."""
    selector = run_selector(run_id, stage)
    found = cluster.list(kinds.POD, laptop.namespace, labels=selector)
    return [pod["metadata"]["name"] for pod in found]


def events(laptop: Laptop, run_id: str, kind: str) -> list[object]:
    """What happened so far of a kind."""
    found = collect_status(laptop.store(), run_id).events
    return [event for event in found if event.kind == kind]


def steps_in(log: str) -> list[int]:
    """The steps that were taken, by what every attempt said of them."""
    lines = (json.loads(line).get("metrics") or {} for line in log.splitlines())
    return [line["step"] for line in lines if "loss" in line]
