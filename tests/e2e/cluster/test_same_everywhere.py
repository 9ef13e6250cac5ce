"""The launcher, `submit`, `run` and `render` make the same run of the same choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.engine import serves
from ftctl.cluster.kinds import Object
from ftctl.cluster.present import present_objects
from ftctl.contract.names import is_run_id
from ftctl.manifests.difference import differences
from tests.e2e.cluster.conftest import new_namespace, reachable_server
from tests.e2e.cluster.laptop import SECRET, Laptop
from tests.e2e.cluster.releases import pushed
from tests.e2e.helm import launched, needs_helm, rendered
from tests.pairwise import pairwise

pytestmark = needs_helm

CHOICES = {
    "experiment": ["smoke", "quickstart", "dpo-quickstart"],
    "cluster": ["cpu", "h100", "eks-l4-spot", "gke-a100", "aks-h100"],
    "engine": ["job", "jobset", "auto"],
    "nodes": ["1", "2"],
    "storage": ["s3-compatible", "s3"],
    "quantize": ["default", "strict"],
    "tracking": ["none", "tensorboard"],
    "training": ["cpu", "gpu-80gb"],
}
ROWS = pairwise(CHOICES)
# Pods that no node takes: nothing starts, and no image is pulled.
NOWHERE = {"ftctl.dev/none": "here"}
OWNER = "demo-owner"


@dataclass(frozen=True)
class Place:
    """A laptop whose store has the inputs of every experiment, named by what finds them there."""

    cluster: Cluster
    laptop: Laptop
    pins: dict[str, list[str]]


@pytest.fixture(scope="module")
def place(
    cluster: Cluster, keys: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One namespace and one store for all of them."""
    server = reachable_server(cluster, tmp_path_factory.mktemp("s3"))
    with new_namespace(cluster) as namespace, server as s3:
        meta = {"name": OWNER, "namespace": namespace}
        cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        folder = tmp_path_factory.mktemp("laptop")
        laptop = Laptop.of(folder, namespace, s3.endpoint_url, {})
        of_each = (replace(laptop, experiment=name) for name in CHOICES["experiment"])
        yield Place(cluster, laptop, {each.experiment: pushed(each) for each in of_each})


@pytest.mark.parametrize("chosen", ROWS, ids=lambda row: "-".join(row.values()))
def test_one_run_of_one_choice(chosen: dict[str, str], place: Place, tmp_path: Path) -> None:
    has_sets = serves(place.cluster, kinds.JOB_SET)
    if chosen["engine"] == "jobset" and not has_sets:
        pytest.skip("the cluster has no JobSet")
    laptop, overrides = place.laptop, _overrides(chosen, place)
    items = _rendered(laptop, overrides)
    if chosen["engine"] == "auto" and has_sets:
        # Rendering asks no cluster, and leaves the choice to who submits.
        of_sets = _rendered(laptop, [*overrides, "cluster.engine=jobset"])
        items = [body for body in items if body["kind"] != "Job"]
        items += [body for body in of_sets if body["kind"] == "JobSet"]
    [file] = [body for body in items if body["kind"] == "ConfigMap"]
    run_id = yaml.safe_load(file["data"]["config.yaml"])["run_id"]

    values = _values(chosen, place)
    folder, arguments = launched(rendered(values, "-n", laptop.namespace), tmp_path)
    assert f"--owner={OWNER}" in arguments
    where = [part.replace("/config", str(folder)) for part in arguments if "config-dir" in part]
    rest = [part for part in arguments if "config-dir" not in part]
    made = laptop.ftctl(*rest, *where, "--unchecked")
    assert made.code == 0, made.stderr
    assert [line for line in made.stdout.split() if is_run_id(line)][-1:] == [run_id]
    live = present_objects(place.cluster, laptop.namespace, run_id)
    found = [(each.what, each.kind, each.lines) for each in differences(items, live)]
    assert found == [("same", body["kind"], ()) for body in items]

    again = laptop.ftctl("submit", "--yes", "--unchecked", *overrides)
    assert again.code == 0, again.stderr
    assert f"{run_id} is" in again.stderr, "the same run, which is there already"
    assert _begun_here(laptop, overrides) == run_id


def _rendered(laptop: Laptop, overrides: list[str]) -> list[Object]:
    done = laptop.ftctl("render", "--json", *overrides)
    assert done.code == 0, done.stderr
    items: list[Object] = done.values["items"]
    return items


def _overrides(chosen: dict[str, str], place: Place) -> list[str]:
    laptop = place.laptop
    groups = ("experiment", "cluster", "storage", "quantize", "tracking", "training")
    return [
        *(f"{group}={chosen[group]}" for group in groups),
        f"name={_name(chosen)}",
        f"cluster.engine={chosen['engine']}",
        f"cluster.nodes={chosen['nodes']}",
        "cluster.node_selector={ftctl.dev/none: here}",
        f"cluster.namespace={laptop.namespace}",
        f"storage.url={laptop.store_url}",
        f"storage.endpoint_url={laptop.endpoint_url}",
        f"storage.secret={SECRET}",
        *place.pins[chosen["experiment"]],
    ]


def _values(chosen: dict[str, str], place: Place) -> dict[str, Any]:
    """The same for the chart: groups and settings as a tree, the rest as overrides."""
    laptop = place.laptop
    groups = ("cluster", "storage", "quantize", "tracking")
    return {
        "experiment": chosen["experiment"],
        # An experiment chooses a training of its own: an override is what goes before that.
        "overrides": [f"training={chosen['training']}", *place.pins[chosen["experiment"]]],
        "config": {
            "name": _name(chosen),
            "defaults": [{group: chosen[group]} for group in groups],
            "cluster": {
                "engine": chosen["engine"],
                "nodes": int(chosen["nodes"]),
                "node_selector": NOWHERE,
            },
            "storage": {
                "url": laptop.store_url,
                "endpoint_url": laptop.endpoint_url,
                "secret": SECRET,
            },
        },
    }


def _name(chosen: dict[str, str]) -> str:
    """Of its own: where a run is computed is no part of its id, and they all stay."""
    return f"case-{ROWS.index(chosen)}"


def _begun_here(laptop: Laptop, overrides: list[str]) -> str:
    """The id that `ftctl run` says, which is stopped as soon as it has said it."""
    local = [one for one in overrides if not one.startswith("cluster.nodes")]
    with laptop.start("run", *local) as process:
        assert process.stderr is not None
        said = process.stderr.readline().split()
        process.terminate()
        _, stderr = process.communicate()
    assert said[:1] == ["run"], stderr
    return said[1]
