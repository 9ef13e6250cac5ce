"""Releases of the chart in a namespace, and what they launch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import condition, containers
from ftctl.contract.labels import RUN, all_selector
from tests.e2e.cluster.laptop import RESOURCES, SECRET, Laptop, until
from tests.e2e.helm import CHART, Done, helm

NAME = "demo"
LAUNCHED = "app.kubernetes.io/component=launcher"
# The image is there; Python, a few requests, and two busy cores.
_LAUNCH_S = 600


@dataclass(frozen=True)
class Release:
    """A release in the namespace of a laptop, whose store has the inputs."""

    cluster: Cluster
    laptop: Laptop
    values: dict[str, Any]

    def helm(self, verb: str, *arguments: str, **more: Any) -> Done:
        """`helm VERB demo`, with the values and what is set besides where the verb takes any."""
        chart = [str(CHART)] if verb in ("install", "upgrade") else []
        values = {**self.values, **more} if chart else None
        return helm(verb, NAME, *chart, "-n", self.laptop.namespace, *arguments, values=values)

    def job(self) -> Object:
        """The launcher's Job of this revision."""
        [job] = self.cluster.list(kinds.JOB, self.laptop.namespace, labels=LAUNCHED)
        return job

    def ended(self) -> Object:
        """The launcher's Job when it has ended."""
        return until(
            self.job,
            lambda job: bool(condition(job, "Complete") or condition(job, "Failed")),
            _LAUNCH_S,
        )

    def launched(self) -> list[str]:
        """What the launcher printed, once it is through."""
        job = self.ended()
        lines = self.log(job)
        assert condition(job, "Complete"), lines
        return lines

    def runs(self) -> set[str]:
        """The runs of which something is in the namespace."""
        selector, namespace = all_selector(), self.laptop.namespace
        return {
            item["metadata"]["labels"][RUN]
            for kind in (kinds.JOB, kinds.CONFIG_MAP, kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY)
            for item in self.cluster.list(kind, namespace, labels=selector)
        }

    def log(self, job: Object) -> list[str]:
        """What the last of a Job's pods printed."""
        name, namespace = job["metadata"]["name"], self.laptop.namespace
        pods = list(self.cluster.list(kinds.POD, namespace, labels=f"job-name={name}"))
        return list(self.cluster.log(namespace, pods[-1]["metadata"]["name"], "launcher"))

    def exit_code(self, job: Object) -> int:
        """How the last of a Job's pods ended."""
        labels = f"job-name={job['metadata']['name']}"
        pods = list(self.cluster.list(kinds.POD, self.laptop.namespace, labels=labels))
        [launcher] = containers(pods[-1])
        return int(launcher["state"]["terminated"]["exitCode"])


def pushed(laptop: Laptop) -> list[str]:
    """Upload the inputs of the laptop's run; return the overrides that find them in the store."""
    done = laptop.ftctl("render", "--push", "--json", *laptop.settings)
    assert done.code == 0, done.stderr
    [config] = [item for item in done.values["items"] if item["kind"] == "ConfigMap"]
    run = yaml.safe_load(config["data"]["config.yaml"])
    return [
        f"dataset.train=sha256:{run['data']['digest']}",
        f"model.revision={run['model']['revision']}",
    ]


def values_of(laptop: Laptop, pins: list[str]) -> dict[str, Any]:
    """The laptop's settings as values of the chart."""
    stages = RESOURCES.items()
    return {
        "experiment": laptop.experiment,
        "overrides": pins,
        "config": {
            "defaults": [{"storage": "s3-compatible"}, {"cluster": "cpu"}],
            "storage": {
                "url": laptop.store_url,
                "endpoint_url": laptop.endpoint_url,
                "secret": SECRET,
            },
            "cluster": {
                "engine": laptop.engine,
                **{f"image_{stage}": image for stage, image in laptop.images.items()},
                "resources": {
                    stage: {"cpu": cpu, "memory": memory} for stage, (cpu, memory) in stages
                },
            },
        },
        "launcher": {"resources": {"requests": {"cpu": "50m", "memory": "256Mi"}}},
    }


def rendered(laptop: Laptop, *overrides: str) -> list[Object]:
    """What `ftctl render` prints of the same inputs."""
    done = laptop.ftctl("render", "--json", *laptop.settings, *overrides)
    assert done.code == 0, done.stderr
    items: list[Object] = json.loads(done.stdout)["items"]
    return items
