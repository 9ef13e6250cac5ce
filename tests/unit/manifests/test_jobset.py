"""A run as one JobSet: its parts are the Jobs that it would be without."""

from __future__ import annotations

import copy
from typing import Any

from ftctl import __version__
from ftctl.cluster.workloads import jobs_in
from ftctl.contract.names import DNS_LABEL_LENGTH, RUN_NAME_LENGTH
from ftctl.manifests.run import run_objects
from tests.run_files import HASH, RUN_ID, a_run

LABELS = {
    "app.kubernetes.io/name": "ftctl",
    "app.kubernetes.io/managed-by": "ftctl",
    "app.kubernetes.io/instance": RUN_ID,
    "ftctl.dev/run": RUN_ID,
}


def objects(engine: str, **profile: Any) -> list[dict[str, Any]]:
    return run_objects(a_run(cluster={"namespace": "ml", "engine": engine, **profile}))


def test_the_convert_stage_is_made_when_the_train_stage_is_complete() -> None:
    *before, job_set = objects("jobset", queue="team", ttl=60)
    *same, train, convert = objects("job")

    assert before == same
    parts = [
        {
            "name": stage,
            "replicas": 1,
            "template": {
                "metadata": {
                    "labels": {
                        **LABELS,
                        "app.kubernetes.io/component": stage,
                        "ftctl.dev/stage": stage,
                    }
                },
                "spec": job["spec"],
            },
        }
        for stage, job in (("train", train), ("convert", convert))
    ]
    assert job_set == {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": job_set["metadata"]["name"],
            "namespace": "ml",
            "labels": {
                **LABELS,
                "app.kubernetes.io/version": __version__,
                "kueue.x-k8s.io/queue-name": "team",
            },
            "annotations": {"ftctl.dev/content-hash": HASH},
        },
        "spec": {
            "failurePolicy": {"maxRestarts": 0},
            "network": {"enableDNSHostnames": False},
            "replicatedJobs": [
                parts[0],
                {**parts[1], "dependsOn": [{"name": "train", "status": "Complete"}]},
            ],
            "ttlSecondsAfterFinished": 60,
        },
    }


def test_another_spec_is_another_name_and_another_time_to_live_is_none() -> None:
    names = {
        key: objects("jobset", **profile)[-1]["metadata"]["name"]
        for key, profile in {
            "first": {},
            "kept-for-less": {"ttl": 60},
            "tried-less": {"backoff_limit": 1},
        }.items()
    }

    assert names["kept-for-less"] == names["first"] != names["tried-less"]


def test_its_jobs_have_names_that_labels_can_hold() -> None:
    run = a_run(run_id=f"{'a' * RUN_NAME_LENGTH}-0123456789ab", cluster={"engine": "jobset"})
    found = run_objects(run)

    names = [job["metadata"]["name"] for job in jobs_in(found)]
    assert names == [f"{found[-1]['metadata']['name']}-{stage}-0" for stage in ("train", "convert")]
    assert max(map(len, names)) <= DNS_LABEL_LENGTH


def test_the_jobs_in_it_are_not_its_own_parts_to_change() -> None:
    found = objects("jobset")
    before = copy.deepcopy(found)

    for job in jobs_in(found):
        job["metadata"]["labels"] = {}

    assert found == before
