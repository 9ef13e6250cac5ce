"""`ftctl gc` in a real cluster: ended runs go, and nothing that may go on."""

from __future__ import annotations

from typing import Any

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.labels import run_labels, run_selector
from tests.e2e.cluster.laptop import Laptop, until

ENDED, GOING, BARE = "ended-0123456789ab", "going-0123456789ab", "bare-0123456789ab"


def make_run(cluster: Cluster, laptop: Laptop, run_id: str, command: list[str] | None) -> None:
    """What a run has: a ConfigMap, and a Job that runs `command`, if any."""
    meta = {"namespace": laptop.namespace, "labels": run_labels(run_id), "name": run_id}
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    if command is None:
        return
    container = {
        "name": "train",
        "image": laptop.images["convert"],
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    template = {
        "metadata": {"labels": run_labels(run_id, "train")},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
    cluster.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": meta,
            "spec": {"template": template, "backoffLimit": 0},
        }
    )


def left(cluster: Cluster, laptop: Laptop, run_id: str) -> list[str]:
    """Kinds that a run still has."""
    selector = run_selector(run_id)
    return [
        kind.name
        for kind in (kinds.JOB, kinds.CONFIG_MAP, kinds.POD)
        if list(cluster.list(kind, laptop.namespace, labels=selector))
    ]


def test_ended_runs_go_and_those_that_go_on_stay(laptop: Laptop, cluster: Cluster) -> None:
    make_run(cluster, laptop, ENDED, ["true"])
    make_run(cluster, laptop, GOING, ["sleep", "600"])
    make_run(cluster, laptop, BARE, None)

    def job() -> dict[str, Any]:
        return dict(cluster.get(kinds.JOB, ENDED, laptop.namespace)["status"])

    until(job, lambda status: bool(status.get("completionTime")), 120)
    new = laptop.ftctl("gc", "--yes", *laptop.settings)
    assert (new.code, new.stdout, new.stderr) == (0, "", "nothing to remove\n")

    done = laptop.ftctl("gc", "--yes", "--older-than", "0", "--json", *laptop.settings)
    assert (done.code, done.stderr) == (0, "")
    assert done.values == {
        "cluster": [
            {"run_id": BARE, "objects": [f"ConfigMap {BARE}"]},
            {"run_id": ENDED, "objects": [f"Job {ENDED}", f"ConfigMap {ENDED}"]},
        ],
        "store": [],
    }
    assert left(cluster, laptop, ENDED) == []
    assert left(cluster, laptop, BARE) == []
    assert left(cluster, laptop, GOING) == ["Job", "ConfigMap", "Pod"]
