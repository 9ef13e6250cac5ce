"""Objects that belong to a ConfigMap."""

from __future__ import annotations

import pytest

from ftctl.cluster.failures import MissingError
from ftctl.cluster.owner import owned_as_before, owned_by
from tests.unit.cluster.memory_api import memory_cluster

OWNER = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "weekly-owner", "namespace": "ml", "uid": "u-1"},
}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": {"a": 1}}


def test_every_object_refers_to_its_owner_and_is_else_the_same() -> None:
    [owned] = owned_by(memory_cluster(OWNER), "ml", "weekly-owner", [JOB])

    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "weekly-owner", "uid": "u-1"}
    assert owned == {**JOB, "metadata": {"name": "train", "ownerReferences": [reference]}}
    assert "ownerReferences" not in JOB["metadata"]


def test_a_run_that_is_created_again_has_the_owner_that_it_had() -> None:
    references = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "weekly-owner", "uid": "u-1"}]
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "config",
            "namespace": "ml",
            "labels": {"ftctl.dev/run": "demo"},
            "ownerReferences": references,
        },
    }

    [owned] = owned_as_before(memory_cluster(config), "ml", "demo", [JOB])
    [free] = owned_as_before(memory_cluster(), "ml", "demo", [JOB])

    assert owned["metadata"] == {"name": "train", "ownerReferences": references}
    assert free == JOB


def test_an_owner_that_is_not_there_is_refused() -> None:
    with pytest.raises(MissingError):
        owned_by(memory_cluster(), "ml", "weekly-owner", [JOB])
