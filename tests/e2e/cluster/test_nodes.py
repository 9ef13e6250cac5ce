"""Two pods that train one run: they end in what one does, also where one of them is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.engine import serves
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import condition
from ftctl.contract import labels
from ftctl.contract.labels import run_selector
from ftctl.contract.layout import RunLayout
from ftctl.contract.pods import COMPLETION_INDEX, CONFIG_PATH, WORK_DIR
from ftctl.report.collect import collect_status
from tests.e2e.cluster.conftest import new_namespace, reachable_server
from tests.e2e.cluster.exit_codes import watched_exit_codes
from tests.e2e.cluster.killing import kill_all
from tests.e2e.cluster.laptop import Laptop, stage_of, until

STEPS, SAVE_STEPS = 16, 2
# Two rows a step: one for each of two processes. In bfloat16 their sum would be rounded otherwise.
SETTINGS = (
    "model.torch_dtype=float32",
    f"training.max_steps={STEPS}",
    f"training.save_steps={SAVE_STEPS}",
    f"training.eval_steps={STEPS}",
    "testing.test=false",
    # Both pods at once on a small node, beside the convert stage, which waits here and is no more.
    "cluster.resources.train.memory=3Gi",
    "cluster.resources.convert.memory=1Gi",
)
TWO = "cluster.nodes=2"
_TRAIN_S = 600
_END_S = 120

# What the second pod runs instead: the same, by a file that names a layer which no model has.
_OTHERWISE = f"""
import os, sys, yaml
run = yaml.safe_load(open("{CONFIG_PATH}"))
if os.environ["{COMPLETION_INDEX}"] == "1":
    run["config"]["model"]["lora_target_modules"] = ["nothing"]
path = "{WORK_DIR}/run.yaml"
yaml.safe_dump(run, open(path, "w"))
os.execv(sys.executable, ["python", "-m", "ftctl_trainer", "train", "--config", path])
"""


@pytest.fixture(scope="module")
def alone(
    cluster: Cluster, keys: None, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The adapter of one pod that trains by itself (a minute, once)."""
    folder = tmp_path_factory.mktemp("alone")
    with reachable_server(cluster, folder) as s3, new_namespace(cluster) as namespace:
        laptop = Laptop.of(folder, namespace, s3.endpoint_url, images)
        run_id = laptop.submit(*SETTINGS)
        return trained(laptop, run_id)


@pytest.mark.parametrize(("lost", "engine"), [(0, "job"), (1, "jobset")])
def test_a_pod_that_is_killed_restarts_both_and_the_adapter_is_that_of_one(
    cluster: Cluster, laptop: Laptop, alone: bytes, lost: int, engine: str
) -> None:
    if engine == "jobset" and not serves(cluster, kinds.JOB_SET):
        pytest.skip("the cluster has no JobSet")
    laptop = replace(laptop, engine=engine)
    with watched_exit_codes(laptop.namespace) as exit_codes:
        run_id = laptop.submit(*SETTINGS, TWO)
        saved = f"{RunLayout(run_id).checkpoint(SAVE_STEPS)}_COMPLETE"
        until(lambda: laptop.store().stat(saved), bool, _TRAIN_S)
        first = train_pods(cluster, laptop, run_id)
        assert len(first) == 2
        kill_all(laptop.namespace, first[lost], "train")
        weights = trained(laptop, run_id)
        until(lambda: train_of(laptop, run_id)["state"], lambda state: state == "succeeded", _END_S)

    assert exit_codes[f"{first[lost]}/train"] == 137
    assert exit_codes[f"{first[1 - lost]}/train"] == 75
    assert train_of(laptop, run_id)["failures"] == 1
    second = train_pods(cluster, laptop, run_id)
    assert [exit_codes[f"{pod}/train"] for pod in second if pod not in first] == [0, 0]
    [resumed_from] = [
        event.data["step"]
        for event in collect_status(laptop.store(), run_id).events
        if event.kind == "resumed"
    ]
    assert SAVE_STEPS <= resumed_from < STEPS
    same_adapter(weights, alone)


def test_a_bad_config_in_the_second_pod_ends_the_run_at_once(
    cluster: Cluster, laptop: Laptop
) -> None:
    rendered = laptop.ftctl("render", "--push", "--json", *laptop.settings, *SETTINGS, TWO)
    assert rendered.code == 0, rendered.stderr
    objects = rendered.values["items"]
    train = next(body for body in objects if body["kind"] == "Job")
    [container] = train["spec"]["template"]["spec"]["containers"]
    container["command"] = ["python", "-c", _OTHERWISE]
    name, run_id = train["metadata"]["name"], train["metadata"]["labels"][labels.RUN]

    def job() -> Object:
        return cluster.get(kinds.JOB, name, laptop.namespace)

    with watched_exit_codes(laptop.namespace) as exit_codes:
        for body in objects:
            cluster.create(body)
        job_failed = until(job, lambda job: bool(condition(job, "Failed")), _TRAIN_S)
        convert = f"{run_id}-convert"
        until(lambda: [pod for pod in exit_codes if pod.startswith(convert)], bool, _END_S)

    failed = condition(job_failed, "Failed")
    assert failed is not None
    assert failed["reason"] == "PodFailurePolicy"
    codes = {pod: code for pod, code in exit_codes.items() if pod.startswith(f"{name}-")}
    assert sorted(pod[len(name) :][:3] for pod in codes) == ["-0-", "-1-"], "none was made again"
    assert [code for pod, code in codes.items() if pod.startswith(f"{name}-1-")] == [3]
    assert [code for pod, code in exit_codes.items() if pod.startswith(convert)] == [3]
    tombstone = json.loads(laptop.store().read(RunLayout(run_id).failed))
    assert "the model has no layer 'nothing'" in tombstone["reason"]


def trained(laptop: Laptop, run_id: str) -> bytes:
    """The weights that the train stage has handed over."""
    keys, store = RunLayout(run_id), laptop.store()
    until(lambda: store.stat(f"{keys.adapter}_COMPLETE"), bool, _TRAIN_S)
    return store.read(f"{keys.adapter}adapter_model.safetensors")


def train_of(laptop: Laptop, run_id: str) -> dict[str, Any]:
    return stage_of(laptop.status(run_id), "train")


def train_pods(cluster: Cluster, laptop: Laptop, run_id: str) -> list[str]:
    """Names of the pods that the train stage has now, by their number."""
    found = cluster.list(kinds.POD, laptop.namespace, labels=run_selector(run_id, "train"))
    return sorted(pod["metadata"]["name"] for pod in found)


def same_adapter(one: bytes, other: bytes) -> None:
    ours, theirs = load(one), load(other)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-4, atol=1e-5)
