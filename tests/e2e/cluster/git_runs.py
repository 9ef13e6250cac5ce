"""Runs that lie in a repository, and what becomes of them in the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from tests.e2e.cluster.conftest import address_towards
from tests.e2e.cluster.custom import Kind
from tests.e2e.cluster.git_server import Repository, repository
from tests.e2e.cluster.laptop import Laptop


@contextmanager
def watched(cluster: Cluster, program: str, kind: Kind, root: Path) -> Iterator[Repository]:
    """A repository with an empty folder `runs`, for a program that knows a kind; else a skip."""
    if not cluster.find(kinds.CUSTOM_RESOURCE, kind.definition):
        pytest.skip(f"the cluster has no {program}")
    with repository(root, address_towards(cluster)) as served:
        (served.folder / "runs").mkdir()
        yield served


def rendered(laptop: Laptop, folder: Path, *overrides: str) -> str:
    """Render a run into a repository's folder, and push its data; return its id."""
    done = laptop.ftctl(
        "render", *laptop.settings, *overrides, "--push", "-o", str(folder), "--json"
    )
    assert done.code == 0, done.stderr
    run_id: str = done.values["run_id"]
    return run_id


def jobs_of(cluster: Cluster, laptop: Laptop) -> dict[str, str]:
    """The Jobs of the namespace, by name, with what tells one from a later one of the name."""
    found = cluster.list(kinds.JOB, laptop.namespace)
    return {job["metadata"]["name"]: job["metadata"]["uid"] for job in found}
