"""Argo CD watches a repository of rendered runs: it trains them, and its health is theirs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.layout import RunLayout
from tests.e2e.cluster.custom import Custom, Kind
from tests.e2e.cluster.git_runs import jobs_of, rendered, watched
from tests.e2e.cluster.git_server import Repository
from tests.e2e.cluster.laptop import Laptop, until

APPLICATION = Kind("argoproj.io", "v1alpha1", "applications", "Application")
# Where Argo CD looks for applications.
ARGO_CD = "argocd"
EMPTY = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: []\n"


@pytest.fixture
def repo(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Repository]:
    """A repository that Argo CD applies to the namespace, as docs/how-to/gitops.md has it."""
    with watched(cluster, "Argo CD", APPLICATION, tmp_path / "git") as served:
        (served.folder / "runs" / "kustomization.yaml").write_text(EMPTY)
        served.commit("Begin")
        spec = {
            "project": "default",
            "source": {"repoURL": served.url, "targetRevision": "main", "path": "runs"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
            "syncPolicy": {"automated": {"prune": True, "selfHeal": True, "allowEmpty": True}},
        }
        application = Custom(ARGO_CD, namespace)
        application.create(APPLICATION, spec)
        yield served
        application.delete(APPLICATION)


def test_an_application_trains_and_is_as_healthy_as_its_runs(
    cluster: Cluster, laptop: Laptop, repo: Repository
) -> None:
    store, folder = laptop.store(), repo.folder / "runs"

    first = rendered(laptop, folder)
    commit, done = repo.commit("Train"), RunLayout(first)
    _until_it_is(laptop, commit, "Progressing")
    assert store.stat(done.success) is None
    until(lambda: store.stat(done.success), bool, 400)
    _until_it_is(laptop, commit, "Healthy")
    made, manifest = jobs_of(cluster, laptop), store.read(done.manifest)
    assert len(made) == 2

    # Drift: what was deleted comes back, sees that all is done, and does nothing.
    train = next(name for name in made if "-train-" in name)
    cluster.delete(kinds.JOB, train, laptop.namespace)
    until(
        lambda: jobs_of(cluster, laptop), lambda now: now.get(train, made[train]) != made[train], 60
    )
    _until_it_is(laptop, commit, "Healthy")
    assert store.read(done.manifest) == manifest

    # Another configuration makes another run; one that its pod refuses ends as Degraded.
    second = rendered(laptop, folder, "training.learning_rate=5e-4")
    config = next((folder / second).glob("configmap*"))
    config.write_text(config.read_text().replace("lora_alpha:", "lora_alfa:"))
    commit = repo.commit("Mistype a key")
    _until_it_is(laptop, commit, "Degraded")
    assert len(jobs_of(cluster, laptop)) == 4
    assert store.stat(RunLayout(second).success) is None

    for run_id in (first, second):
        shutil.rmtree(folder / run_id)
    (folder / "kustomization.yaml").write_text(EMPTY)
    _until_it_is(laptop, repo.commit("Take both away"), "Healthy")
    until(lambda: jobs_of(cluster, laptop), lambda left: not left, 60)
    assert store.read(done.manifest) == manifest


def _until_it_is(laptop: Laptop, commit: str, health: str) -> None:
    """Wait until the application is in sync with a commit, and of a health."""
    application = Custom(ARGO_CD, laptop.namespace)
    application.annotate(APPLICATION, "argocd.argoproj.io/refresh", "normal")

    def found() -> tuple[str | None, str | None, str | None]:
        status = application.status(APPLICATION)
        sync = status.get("sync", {})
        return sync.get("revision"), sync.get("status"), status.get("health", {}).get("status")

    until(found, lambda now: now == (commit, "Synced", health), 180)
