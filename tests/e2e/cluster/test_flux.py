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
from ftctl.contract.labels import RUN, all_selector
from ftctl.contract.layout import RunLayout
from ftctl.report.collect import collect_status
from tests.e2e.cluster.custom import Custom, Kind
from tests.e2e.cluster.git_runs import jobs_of, rendered, watched
from tests.e2e.cluster.git_server import Repository
from tests.e2e.cluster.laptop import STEPS, Laptop, until
from tests.e2e.cluster.releases import pushed, values_of
from tests.e2e.helm import CHART

GIT_REPOSITORY = Kind("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository")
KUSTOMIZATION = Kind("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization")
HELM_RELEASE = Kind("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease")
NAME = "demo"
# Enough for the launcher, and less than a training takes.
TIMEOUT_S = 60
_NOW = "reconcile.fluxcd.io/requestedAt"


@pytest.fixture
def source(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Repository]:
    """A repository that Flux fetches."""
    with watched(cluster, "Flux", KUSTOMIZATION, tmp_path / "git") as served:
        (served.folder / "runs" / ".keep").touch()
        shutil.copytree(CHART, served.folder / "chart")
        served.commit("Begin")
        objects = Custom(namespace, NAME)
        objects.create(
            GIT_REPOSITORY, {"interval": "1h", "url": served.url, "ref": {"branch": "main"}}
        )
        yield served
        objects.delete(GIT_REPOSITORY)


@pytest.fixture
def repo(source: Repository, namespace: str) -> Iterator[Repository]:
    """A repository that Flux applies to the namespace."""
    # A run is waited for by its own status; a Kustomization that waits would time out.
    spec = {
        "interval": "1h",
        "path": "./runs",
        "prune": True,
        "wait": False,
        "sourceRef": {"kind": "GitRepository", "name": NAME},
    }
    objects = Custom(namespace, NAME)
    objects.create(KUSTOMIZATION, spec)
    yield source
    objects.delete(KUSTOMIZATION)


def test_commits_train_and_syncs_do_not(cluster: Cluster, laptop: Laptop, repo: Repository) -> None:
    store, folder = laptop.store(), repo.folder / "runs"

    first = rendered(laptop, folder)
    _sync(laptop, repo.commit("Train"))
    done = RunLayout(first)
    until(lambda: store.stat(done.success), bool, 400)
    made = jobs_of(cluster, laptop)
    assert len(made) == 2
    manifest = store.read(done.manifest)

    _sync(laptop, None)
    assert jobs_of(cluster, laptop) == made
    (repo.folder / "README").write_text("nothing of a run\n")
    _sync(laptop, repo.commit("Say what this is"))
    assert jobs_of(cluster, laptop) == made

    # Other rows: another digest, and so another run. The first one's file goes.
    shutil.rmtree(folder / first)
    second = rendered(laptop, folder, "dataset.limit=20")
    assert second != first
    _sync(laptop, repo.commit("Train on more rows"))
    assert {name.rpartition("-")[0].rpartition("-")[0] for name in jobs_of(cluster, laptop)} == {
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


def test_a_helm_release_is_ready_and_stays_so_while_its_run_trains_beyond_its_timeout(
    cluster: Cluster, laptop: Laptop, source: Repository
) -> None:
    spec = {
        "interval": "1h",
        "timeout": f"{TIMEOUT_S}s",
        "chart": {
            "spec": {"chart": "./chart", "sourceRef": {"kind": "GitRepository", "name": NAME}}
        },
        "values": values_of(laptop, [*pushed(laptop), *STEPS]),
    }
    objects = Custom(laptop.namespace, NAME)
    objects.create(HELM_RELEASE, spec)
    until(lambda: objects.status(HELM_RELEASE), _is_ready, TIMEOUT_S + 30)
    installed = time.monotonic()
    run_id = next(iter(_runs(cluster, laptop)))
    made = jobs_of(cluster, laptop)

    until(lambda: time.monotonic() - installed, lambda passed: passed > TIMEOUT_S, 2 * TIMEOUT_S)
    until(lambda: laptop.store().stat(RunLayout(run_id).success), bool, 600)

    status = objects.status(HELM_RELEASE)
    assert _is_ready(status)
    assert [one["status"] for one in status["history"]] == ["deployed"]
    assert jobs_of(cluster, laptop) == made
    objects.delete(HELM_RELEASE)
    until(lambda: jobs_of(cluster, laptop), lambda left: not left, 120)
    assert laptop.store().stat(RunLayout(run_id).success) is not None


def _is_ready(status: dict[str, Any]) -> bool:
    return _conditions(status).get("Ready") == "True"


def _conditions(status: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["status"] for one in status.get("conditions", ())}


def _runs(cluster: Cluster, laptop: Laptop) -> set[str]:
    """The runs that have Jobs in the namespace."""
    found = cluster.list(kinds.JOB, laptop.namespace, labels=all_selector())
    return {job["metadata"]["labels"][RUN] for job in found}


def _sync(laptop: Laptop, commit: str | None, *, ready: bool = True) -> None:
    """Have Flux look now, and wait until it has applied a commit, or the same again."""
    objects, asked = Custom(laptop.namespace, NAME), str(time.time())
    objects.annotate(GIT_REPOSITORY, _NOW, asked)
    if commit:
        until(
            lambda: objects.status(GIT_REPOSITORY),
            lambda status: commit in status.get("artifact", {}).get("revision", ""),
            120,
        )
    objects.annotate(KUSTOMIZATION, _NOW, asked)

    def applied(status: dict[str, Any]) -> bool:
        return (
            status.get("lastHandledReconcileAt") == asked
            and (commit or "") in status.get("lastAttemptedRevision", "")
            and _conditions(status).get("Ready") == str(ready)
        )

    until(lambda: objects.status(KUSTOMIZATION), applied, 120)


def _failed(job: dict[str, Any]) -> bool:
    conditions = job.get("status", {}).get("conditions", ())
    return any(one["type"] == "Failed" and one["status"] == "True" for one in conditions)
