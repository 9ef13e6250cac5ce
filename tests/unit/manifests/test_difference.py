"""What applying a rendering would change."""

from __future__ import annotations

import copy
from typing import Any

from ftctl.manifests.difference import Difference, differences
from ftctl.manifests.run import run_objects
from tests.run_files import RUN_ID, a_run


def with_defaults(body: dict[str, Any]) -> dict[str, Any]:
    """An object as an API server gives it back."""
    live = copy.deepcopy(body)
    live["metadata"] |= {"uid": "1", "resourceVersion": "7", "managedFields": [{"manager": "x"}]}
    live["metadata"]["labels"]["added.by/controller"] = "yes"
    live["status"] = {"active": 1}
    if live["kind"] == "Job":
        live["spec"]["suspend"] = False
        live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    return live


def test_a_new_run_is_created_whole() -> None:
    found = differences(run_objects(a_run()), [])

    assert [(each.what, each.kind) for each in found] == [
        ("create", "ServiceAccount"),
        ("create", "ConfigMap"),
        ("create", "NetworkPolicy"),
        ("create", "Job"),
        ("create", "Job"),
    ]
    assert str(found[0]) == f"+ ServiceAccount default/{RUN_ID}"


def test_defaults_of_the_server_are_no_change() -> None:
    objects = run_objects(a_run())

    found = differences(objects, [with_defaults(body) for body in objects])

    assert {each.what for each in found} == {"same"}


def test_a_change_is_shown_by_its_lines() -> None:
    before = run_objects(a_run())
    after = run_objects(a_run(cluster={"egress_ports": [9000]}))

    found = differences(after, [with_defaults(body) for body in before])

    assert [each.what for each in found] == ["same", "same", "change", "same", "same"]
    assert found[2] == Difference(
        "change",
        "NetworkPolicy",
        "default",
        RUN_ID,
        (
            "--- cluster",
            "+++ rendered",
            "@@ -32,4 +32,6 @@",
            "     - protocol: TCP",
            "       port: 443",
            "+    - protocol: TCP",
            "+      port: 9000",
            "   - to:",
            "     - ipBlock:",
        ),
    )


def test_a_job_of_another_specification_is_another_object_and_the_old_one_is_left() -> None:
    before = run_objects(a_run())
    after = run_objects(a_run(cluster={"resources": {"train": {"memory": "64Gi"}}}))

    found = differences(after, before)

    assert [each.what for each in found] == [
        "same",
        "same",
        "same",
        "create",
        "same",
        "left over",
    ]
    assert str(found[5]) == f"- Job default/{before[3]['metadata']['name']}"
