"""
`ftctl sweep` from a laptop, and its launcher's command as the pod runs it.

The store is a real S3 server. The cluster keeps what it is given; a convert Job that is created in
it publishes its run at once.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.cluster import kinds, place
from ftctl.cluster import open as cluster_open
from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import Object
from ftctl.commands import sweep_launch
from ftctl.config import compose as composing
from ftctl.contract.labels import RUN, STAGE, all_selector, launcher_selector
from ftctl.contract.layout import DATASETS, MODELS, RunLayout
from ftctl.contract.operational import StorageConfig
from ftctl.contract.spec import Config
from ftctl.contract.status import Metrics
from ftctl.storage.aliases import read_alias
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from ftctl.storage.sweeps import read_launcher, read_sweep
from tests.integration.run.conftest import SETTINGS, _rows
from tests.integration.s3_server import BUCKET, running_server
from tests.integration.taking_api import Api
from tests.integration.tiny_model import make_tiny_model, write_jsonl
from tests.json_answers import problems
from tests.report_stores import json_lines

SWEPT = ["training.learning_rate=1e-3,2e-3,3e-3", "model.lora_r=4,8"]
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s3-keys", "namespace": "ml"},
}
Ftctl = Callable[..., Result]


class Publishing(Api):
    """Publishes a run when its second Job is created; the higher the rank, the lower the loss."""

    store: Store

    def on_created(self, body: Object) -> None:
        """What the stages leave, as far as a sweep reads it."""
        labels = body["metadata"].get("labels", {})
        if body["kind"] != "Job" or labels.get(STAGE) != "convert":
            return
        layout = RunLayout(labels[RUN])
        rank = int(b"lora_r: 8" in self.store.read(layout.config))
        line = Metrics(step=8, epoch=1, eval_loss=2.0 - rank)
        self.store.write(layout.metrics, json_lines([line]))
        self.store.write(layout.success, b"{}")
        self.complete(labels[RUN])


@pytest.fixture(scope="module")
def endpoint_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server at an address of this machine that is no loopback, as pods need it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network")
        address = str(probe.getsockname()[0])
    with running_server(tmp_path_factory.mktemp("s3"), address) as server:
        yield server.endpoint_url


@pytest.fixture
def store(endpoint_url: str, s3_env: None, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("NO_PROXY", "*")
    url = f"s3://{BUCKET}/{prefix}"
    return open_store(StorageConfig(url=url, endpoint_url=endpoint_url, addressing="path"))


@pytest.fixture
def api(store: Store) -> Publishing:
    found = Publishing([SECRET])
    found.store = store
    return found


@pytest.fixture
def cluster(api: Publishing, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(api, context="lab")
    for module in (cluster_open, place):
        monkeypatch.setattr(module, "open_cluster", lambda *_, **__: found)
    monkeypatch.setattr(sweep_launch, "_LOOK_S", 0.0)
    return found


@pytest.fixture
def storage(store: Store, endpoint_url: str) -> list[str]:
    return [
        "storage=s3-compatible",
        f"storage.url={store.url}",
        f"storage.endpoint_url={endpoint_url}",
        "storage.secret=s3-keys",
        "cluster.namespace=ml",
    ]


@pytest.fixture
def settings(storage: list[str], tmp_path: Path) -> list[str]:
    fixed = [one for one in SETTINGS if not one.startswith("training.learning_rate")]
    return [
        *fixed,
        *storage,
        "cluster=cpu",
        "cluster.engine=job",
        f"model.model_name={make_tiny_model(tmp_path / 'tiny')}",
        f"dataset.train={write_jsonl(tmp_path / 'train.jsonl', _rows(24))}",
        f"dataset.eval={write_jsonl(tmp_path / 'eval.jsonl', _rows(8, first=24))}",
    ]


def ftctl(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def in_the_pod(cluster: Cluster, sweep_id: str, folder: Path) -> list[str]:
    """The arguments of the launcher's command, its configuration put into a folder."""
    selector = launcher_selector(sweep_id)
    [job] = cluster.list(kinds.JOB, "ml", labels=selector)
    [config_map] = cluster.list(kinds.CONFIG_MAP, "ml", labels=selector)
    folder.mkdir()
    for name, text in config_map["data"].items():
        (folder / name).write_text(text)
    [container] = job["spec"]["template"]["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == "ftctl"
    return [argument.replace("/etc/ftctl", str(folder)) for argument in arguments]


def runs_in(cluster: Cluster) -> set[str]:
    jobs = cluster.list(kinds.JOB, "ml", labels=all_selector())
    return {job["metadata"]["labels"][RUN] for job in jobs}


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert problems("sweep", found) == []
    return found


def test_the_laptop_hands_over_and_the_launcher_does_the_rest(
    store: Store, cluster: Cluster, settings: list[str], storage: list[str], tmp_path: Path
) -> None:
    plan = told(ftctl("sweep", "--yes", "--json", "--alias=best", *settings, *SWEPT))

    assert (plan["state"], plan["trials"], plan["parallel"]) == ("submitted", 6, 2)
    assert runs_in(cluster) == set()
    assert read_launcher(store, plan["sweep_id"]) is not None
    assert len(read_sweep(store, plan["sweep_id"]).children) == 6
    assert any(store.list(DATASETS))
    assert any(store.list(MODELS))

    done = ftctl(*in_the_pod(cluster, plan["sweep_id"], tmp_path / "etc"), "--json")

    shown = told(done)
    assert runs_in(cluster) == {run["run_id"] for run in plan["runs"]}
    assert {run["state"] for run in shown["runs"]} == {"succeeded"}
    alias = read_alias(store, "best")
    assert alias is not None
    assert alias.run_id == shown["best"]
    assert shown["runs"][0]["values"]["model.lora_r"] == "8"
    assert told(ftctl("sweep", plan["sweep_id"], "--json", *storage)) == shown


def test_children_are_the_runs_that_submit_makes(cluster: Cluster, settings: list[str]) -> None:
    plan = told(ftctl("sweep", "--yes", "--json", "--dry-run", *settings, *SWEPT))
    ids = {tuple(run["values"].values()): run["run_id"] for run in plan["runs"]}

    one = ["training.learning_rate=2e-3", "model.lora_r=8"]
    submitted = ftctl("submit", "--dry-run", "--json", *settings, *one)

    assert json.loads(submitted.stdout)["run_id"] == ids[("0.002", "8")]
    assert runs_in(cluster) == set()


def test_each_seed_chooses_held_out_rows_and_only_that_is_composed_for_each(
    cluster: Cluster, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    composed: list[Sequence[str]] = []

    def compose(overrides: Sequence[str], **where: Any) -> Config:
        composed.append(overrides)
        return real(overrides, **where)

    real = composing.compose
    monkeypatch.setattr(composing, "compose", compose)
    drawn = [one for one in settings if not one.startswith("dataset.eval=")]
    drawn += ["dataset.eval=null", "dataset.eval_fraction=0.25"]
    swept = ["training.learning_rate=1e-3,2e-3,3e-3,4e-3", "training.seed=1,2,3"]
    plan = told(ftctl("sweep", "--yes", "--json", "--dry-run", *drawn, *swept))
    # The sweep's own, and of each seed the runs of the first and the last rate.
    assert len(composed) == 7
    ids = {tuple(run["values"].values()): run["run_id"] for run in plan["runs"]}
    assert len(set(ids.values())) == 12

    one = ["training.learning_rate=3e-3", "training.seed=2"]
    submitted = ftctl("submit", "--dry-run", "--json", *drawn, *one)

    assert json.loads(submitted.stdout)["run_id"] == ids[("0.003", "2")]


@pytest.mark.parametrize("order", ["null,FILE", "FILE,null"])
def test_a_seed_may_choose_held_out_rows_beside_one_of_two_data_sets(
    cluster: Cluster, settings: list[str], order: str
) -> None:
    [file] = [one.partition("=")[2] for one in settings if one.startswith("dataset.eval=")]
    kept = [one for one in settings if not one.startswith("dataset.eval=")]
    kept.append("dataset.eval_fraction=0.25")
    swept = [f"dataset.eval={order.replace('FILE', file)}", "training.seed=1,2"]
    plan = told(ftctl("sweep", "--yes", "--json", "--dry-run", *kept, *swept))

    ids = {tuple(run["values"].values()): run["run_id"] for run in plan["runs"]}
    assert len(ids) == 4
    for (held_out, seed), run_id in ids.items():
        one = [f"dataset.eval={held_out}", f"training.seed={seed}"]
        submitted = ftctl("submit", "--dry-run", "--json", *kept, *one)
        assert json.loads(submitted.stdout)["run_id"] == run_id


def test_from_here_needs_no_launcher(store: Store, cluster: Cluster, settings: list[str]) -> None:
    shown = told(ftctl("sweep", "--from-here", "--yes", "--json", *settings, "model.lora_r=4,8"))

    assert shown["runs"][0]["values"] == {"model.lora_r": "8"}
    assert read_launcher(store, shown["sweep_id"]) is None
    assert list(cluster.list(kinds.JOB, "ml", labels=launcher_selector(shown["sweep_id"]))) == []


def test_without_a_terminal_nobody_answers_and_nothing_is_created(
    store: Store, cluster: Cluster, api: Publishing, settings: list[str]
) -> None:
    done = ftctl("sweep", *settings, *SWEPT)

    assert done.exit_code == 2
    assert "Launch 6 runs? Nobody can answer" in done.stderr
    assert [body["kind"] for body in api.objects.values()] == ["Secret"]
    assert list(store.list()) == []


def test_what_the_cluster_would_not_take_is_said_before_anything_is_stored(
    store: Store, cluster: Cluster, api: Publishing, settings: list[str]
) -> None:
    api.objects.clear()

    done = ftctl("sweep", "--yes", *settings, *SWEPT)

    assert done.exit_code == 6
    assert "there is no Secret s3-keys in the namespace ml" in done.stderr
    assert list(store.list()) == []


def test_cancel_takes_the_launcher_and_starts_nothing_more(
    store: Store, cluster: Cluster, settings: list[str], storage: list[str], tmp_path: Path
) -> None:
    plan = told(ftctl("sweep", "--yes", "--json", *settings, *SWEPT))
    command = in_the_pod(cluster, plan["sweep_id"], tmp_path / "etc")

    shown = told(ftctl("sweep", plan["sweep_id"], "--cancel", "--json", *storage))

    assert shown["cancelled"] is True
    assert list(cluster.list(kinds.JOB, "ml")) == []
    # A pod that was about to start ends without a run.
    assert ftctl(*command).exit_code == 7
    assert runs_in(cluster) == set()

    again = told(ftctl("sweep", "--yes", "--json", *settings, *SWEPT))
    assert again["sweep_id"] == plan["sweep_id"]
    assert told(ftctl(*command, "--json"))["cancelled"] is False
    assert len(runs_in(cluster)) == 6
