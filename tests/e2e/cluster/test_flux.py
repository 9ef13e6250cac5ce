"""Flux watches a repository of rendered runs: a commit trains, and nothing else does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.layout import RunLayout
from ftctl.report.collect import collect_status
from tests.e2e.cluster.conftest import address_towards
from tests.e2e.cluster.git_server import Repository, repository
from tests.e2e.cluster.laptop import Laptop, until

# Group, plural and kind; all are v1.
GIT_REPOSITORY = ("source.toolkit.fluxcd.io", "gitrepositories", "GitRepository")
KUSTOMIZATION = ("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization")
_NOW = "reconcile.fluxcd.io/requestedAt"


@pytest.fixture
def repo(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Repository]:
    """A repository that Flux applies to the namespace."""
    group, plural, _ = KUSTOMIZATION
    if not cluster.find(kinds.CUSTOM_RESOURCE, f"{plural}.{group}"):
        pytest.skip("the cluster has no Flux")
    with repository(tmp_path / "git", address_towards(cluster)) as served:
        (served.folder / "runs").mkdir()
        (served.folder / "runs" / ".keep").touch()
        served.commit("Begin")
        source = {"interval": "1h", "url": served.url, "ref": {"branch": "main"}}
        # A run is waited for by its own status; a Kustomization that waits would time out.
        apply = {
            "interval": "1h",
            "path": "./runs",
            "prune": True,
            "wait": False,
            "sourceRef": {"kind": "GitRepository", "name": "runs"},
        }
        objects = Custom(namespace)
        objects.create(GIT_REPOSITORY, source)
        objects.create(KUSTOMIZATION, apply)
        yield served
        objects.delete(KUSTOMIZATION)
        objects.delete(GIT_REPOSITORY)


class Custom:
    """Flux's objects of a namespace, all of them named `runs`."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        config.load_kube_config()
        self._api, self._namespace = client.CustomObjectsApi(), namespace

    def create(self, kind: tuple[str, str, str], spec: dict[str, Any]) -> None:
        group, plural, name = kind
        body = {
            "apiVersion": f"{group}/v1",
            "kind": name,
            "metadata": {"name": "runs"},
            "spec": spec,
        }
        self._api.create_namespaced_custom_object(group, "v1", self._namespace, plural, body)

    def look_now(self, kind: tuple[str, str, str], asked: str) -> None:
        body = {"metadata": {"annotations": {_NOW: asked}}}
        self._api.patch_namespaced_custom_object(*self._path(kind), body)

    def status(self, kind: tuple[str, str, str]) -> dict[str, Any]:
        found = self._api.get_namespaced_custom_object(*self._path(kind))
        status: dict[str, Any] = found.get("status", {})
        return status

    def delete(self, kind: tuple[str, str, str]) -> None:
        self._api.delete_namespaced_custom_object(*self._path(kind))

    def _path(self, kind: tuple[str, str, str]) -> tuple[str, str, str, str, str]:
        return kind[0], "v1", self._namespace, kind[1], "runs"


def test_commits_train_and_syncs_do_not(cluster: Cluster, laptop: Laptop, repo: Repository) -> None:
    store, folder = laptop.store(), repo.folder / "runs"

    first = _render(laptop, folder)
    _sync(laptop, repo.commit("Train"))
    done = RunLayout(first)
    until(lambda: store.stat(done.success), bool, 400)
    made = _jobs(cluster, laptop)
    assert len(made) == 2
    manifest = store.read(done.manifest)

    (repo.folder / "README").write_text("nothing of a run\n")
    _sync(laptop, repo.commit("Say what this is"))
    assert _jobs(cluster, laptop) == made

    # Other rows: another digest, and so another run. The first one's file goes.
    shutil.rmtree(folder / first)
    second = _render(laptop, folder, "dataset.limit=20")
    assert second != first
    _sync(laptop, repo.commit("Train on more rows"))
    assert {name.rpartition("-")[0].rpartition("-")[0] for name in _jobs(cluster, laptop)} == {
        second
    }
    assert store.read(done.manifest) == manifest
    until(lambda: store.stat(RunLayout(second).events), bool, 120)

    cancelled = laptop.ftctl("cancel", second, *laptop.storage)
    assert cancelled.code == 0, cancelled.stderr
    _sync(laptop, None)
    again = until(
        lambda: list(cluster.list(kinds.JOB, laptop.namespace)),
        lambda jobs: len(jobs) == 2 and all(map(_failed, jobs)),
        120,
    )
    assert len(again) == 2
    assert collect_status(store, second).state == "cancelled"
    assert store.stat(RunLayout(second).success) is None

    job = next((folder / second).glob("job-train*"))
    job.write_text(job.read_text().replace("completions: 1", "completions: one"))
    _sync(laptop, repo.commit("Mistype a number"), ready=False)


def _render(laptop: Laptop, folder: Path, *overrides: str) -> str:
    """Render a run into the repository, and push its data; return its id."""
    done = laptop.ftctl(
        "render", *laptop.settings, *overrides, "--push", "-o", str(folder), "--json"
    )
    assert done.code == 0, done.stderr
    run_id: str = done.values["run_id"]
    return run_id


def _sync(laptop: Laptop, commit: str | None, *, ready: bool = True) -> None:
    """Have Flux look now, and wait until it has applied a commit, or the same again."""
    objects, asked = Custom(laptop.namespace), str(time.time())
    objects.look_now(GIT_REPOSITORY, asked)
    if commit:
        until(
            lambda: objects.status(GIT_REPOSITORY),
            lambda status: commit in status.get("artifact", {}).get("revision", ""),
            120,
        )
    objects.look_now(KUSTOMIZATION, asked)

    def applied(status: dict[str, Any]) -> bool:
        now = {one["type"]: one["status"] for one in status.get("conditions", ())}
        return (
            status.get("lastHandledReconcileAt") == asked
            and (commit or "") in status.get("lastAttemptedRevision", "")
            and now.get("Ready") == str(ready)
        )

    until(lambda: objects.status(KUSTOMIZATION), applied, 120)


def _jobs(cluster: Cluster, laptop: Laptop) -> dict[str, str]:
    """The Jobs of the namespace, by name, with what tells one from a later one of the name."""
    found = cluster.list(kinds.JOB, laptop.namespace)
    return {job["metadata"]["name"]: job["metadata"]["uid"] for job in found}


def _failed(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] == "Failed" and one["status"] == "True" for one in conditions)
