"""`ftctl` as users run it, in a process of its own, and how long they wait for an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.cluster.observed import containers
from ftctl.contract.operational import StorageConfig
from ftctl.errors import ClusterError
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from tests.integration.s3_server import BUCKET

PROJECT = Path(__file__).parents[3]
Seen = TypeVar("Seen")

SECRET = "s3-keys"
# Twelve steps leave the model surer of its labels than the four of smoke: verification demands it.
STEPS = ("training.max_steps=12", "training.save_steps=2", "training.eval_steps=12")
# Of runs that are to be there, and need not go on: no node has the label.
NOWHERE = "cluster.node_selector={ftctl.dev/none: here}"
# Small enough for a node of two cores that does other things too.
RESOURCES = {"train": ("300m", "4Gi"), "convert": ("200m", "4Gi")}


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def values(self) -> dict[str, Any]:
        """What it printed as JSON."""
        answer: dict[str, Any] = json.loads(self.stdout)
        return answer


@dataclass(frozen=True)
class Laptop:
    """A folder for files of its own, and the settings of a store and a namespace."""

    folder: Path
    namespace: str
    store_url: str
    endpoint_url: str
    images: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    experiment: str = "smoke"
    # Most tests look at Jobs, whether or not the cluster has JobSet.
    engine: str = "job"

    @classmethod
    def of(
        cls, folder: Path, namespace: str, endpoint_url: str, images: Mapping[str, str]
    ) -> Laptop:
        """A machine whose store is the namespace's own part of the bucket."""
        return cls(folder, namespace, f"s3://{BUCKET}/{namespace}", endpoint_url, images)

    @property
    def storage(self) -> list[str]:
        """Overrides that name the store."""
        return [
            "storage=s3-compatible",
            f"storage.url={self.store_url}",
            f"storage.endpoint_url={self.endpoint_url}",
            f"storage.secret={SECRET}",
        ]

    @property
    def settings(self) -> list[str]:
        """Overrides of a run, with the smoke experiment of about a minute."""
        stages = RESOURCES.items()
        return [
            f"experiment={self.experiment}",
            "cluster=cpu",
            f"cluster.engine={self.engine}",
            f"cluster.namespace={self.namespace}",
            *self.storage,
            *(f"cluster.image_{stage}={image}" for stage, image in self.images.items()),
            *(f"cluster.resources.{stage}.cpu={cpu}" for stage, (cpu, _) in stages),
            *(f"cluster.resources.{stage}.memory={memory}" for stage, (_, memory) in stages),
        ]

    def ftctl(self, *arguments: str) -> Finished:
        """Run `ftctl` to its end."""
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate()
        return Finished(process.returncode, stdout, stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `ftctl` and come back at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "ftctl.app", *arguments],
            cwd=PROJECT,  # for data/quickstart
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NO_COLOR": "1", **self.env},
        )

    def submit(self, *arguments: str) -> str:
        """Submit the run with more overrides and options; return its id."""
        done = self.ftctl("submit", "--yes", *self.settings, *arguments)
        assert done.code == 0, done.stderr
        return done.stdout.split()[-1]

    def status(self, run_id: str) -> dict[str, Any]:
        """`ftctl status --json`."""
        done = self.ftctl("status", run_id, "--json", *self.storage)
        assert done.code == 0, done.stderr
        return done.values

    def with_env(self, **env: str) -> Laptop:
        """The same machine with other environment variables."""
        return replace(self, env={**self.env, **env})

    def store(self) -> Store:
        """The store, opened here."""
        return open_store(
            StorageConfig(url=self.store_url, endpoint_url=self.endpoint_url, addressing="path")
        )


def stage_of(status: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """What the cluster says of a stage; empty when it says nothing."""
    stages = (status["cluster"] or {}).get("stages", ())
    found: dict[str, Any] = next((one for one in stages if one["stage"] == stage), {})
    return found


def until(look: Callable[[], Seen], holds: Callable[[Seen], bool], seconds: float) -> Seen:
    """Look until it holds; fail with the last look when `seconds` are over."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if holds(found):
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s; the last look: {found}"
        time.sleep(0.5)


def dump(cluster: Cluster, namespace: str) -> None:
    """Print what a namespace holds, for the report of a test that failed."""
    lines = []
    for job in cluster.list(kinds.JOB, namespace):
        lines.append(f"Job {job['metadata']['name']}: {json.dumps(job.get('status'))}")
    for pod in cluster.list(kinds.POD, namespace):
        name = pod["metadata"]["name"]
        lines.append(f"Pod {name}: {json.dumps(pod['status'].get('conditions'))}")
        for one in containers(pod):
            lines.append(f"  {one['name']}: {json.dumps(one['state'])}")
            lines += _log(cluster, namespace, name, one["name"])
    for event in cluster.list(kinds.EVENT, namespace):
        lines.append(f"Event {event['involvedObject'].get('name')}: {event.get('message')}")
    sys.stderr.write("\n".join([f"namespace {namespace}", *lines, ""]))


def _log(cluster: Cluster, namespace: str, pod: str, container: str) -> list[str]:
    try:
        return [f"    {line}" for line in cluster.log(namespace, pod, container, tail=30)]
    except ClusterError as error:
        return [f"    ({error.what})"]
