"""Runs that lie in a repository, and what becomes of them in the cluster."""

from __future__ import annotations

from pathlib import Path

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from tests.e2e.cluster.laptop import Laptop


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
