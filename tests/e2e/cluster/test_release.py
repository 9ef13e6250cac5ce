"""The chart in a namespace that denies what no policy allows: its launcher makes runs."""

from __future__ import annotations

import json

from ftctl.cluster import kinds
from ftctl.cluster.kinds import Object
from ftctl.cluster.observed import condition
from ftctl.cluster.present import present_objects
from ftctl.contract.layout import RunLayout
from ftctl.contract.names import is_run_id
from ftctl.manifests.difference import differences
from tests.e2e.cluster.laptop import until
from tests.e2e.cluster.releases import NAME, Release, rendered
from tests.e2e.helm import needs_helm

pytestmark = needs_helm
FASTER = "config.training.learning_rate=1e-3"
_RUN_S = 900


def test_a_release_is_a_run_from_install_to_uninstall(release: Release) -> None:
    cluster, laptop = release.cluster, release.laptop
    store, pins = laptop.store(), release.values["overrides"]

    done = release.helm("install")
    assert done.code == 0, done.stderr
    run_id = _run_in(release.launched())
    _is_what_render_prints(release, run_id, rendered(laptop, *pins))
    until(lambda: laptop.status(run_id)["state"], lambda state: state == "succeeded", _RUN_S)
    assert "is published already" in laptop.ftctl("submit", "--yes", *laptop.settings).stderr
    results = [(item.key, item.etag) for item in store.list(RunLayout(run_id).root)]
    first = release.job()["metadata"]["uid"]

    assert release.helm("upgrade").code == 0
    assert release.job()["metadata"]["uid"] == first

    assert release.helm("upgrade", "--set", FASTER).code == 0
    second = _run_in(release.launched())
    assert second != run_id
    assert release.runs() == {run_id, second}
    _is_what_render_prints(release, second, rendered(laptop, *pins, FASTER.removeprefix("config.")))

    assert release.helm("rollback", "1").code == 0
    assert f"{run_id} is published already" in " ".join(release.launched())

    assert release.helm("uninstall").code == 0
    until(release.runs, lambda left: not left, 300)
    assert [(item.key, item.etag) for item in store.list(RunLayout(run_id).root)] == results
    assert store.stat(RunLayout(second).config) is not None

    scheduled = release.helm("install", schedule={"cron": "@yearly"}, keepRuns=True)
    assert scheduled.code == 0, scheduled.stderr
    [cron] = cluster.list(kinds.CRON_JOB, laptop.namespace)
    body = {"apiVersion": "batch/v1", "kind": "Job", **cron["spec"]["jobTemplate"]}
    body["metadata"] |= {"name": "now", "namespace": laptop.namespace}
    cluster.create(body)
    assert f"{run_id} is published already" in " ".join(release.launched())
    assert release.runs() == set()


def test_the_doctor_is_helms_test(release: Release) -> None:
    # A launcher has nothing to launch here yet: the schedule is for later.
    done = release.helm("install", schedule={"cron": "@yearly"})
    assert done.code == 0, done.stderr

    tested = release.helm("test", "--logs", "--timeout", "3m")

    assert tested.code == 0, tested.stdout + tested.stderr
    assert "ok    storage in the cluster: pods can write and read the store" in tested.stdout
    assert release.runs() == set()


def test_wrong_input_ends_the_launcher_at_once_and_is_said(bare: Release) -> None:
    done = bare.helm("install")
    assert done.code == 0, done.stderr

    job = bare.ended()

    assert (_failure(job), bare.exit_code(job)) == ("PodFailurePolicy", 3)
    assert bare.log(job)[0] == "error: dataset.train: there is no file 'data/quickstart/train.json'"
    assert bare.runs() == set()


def test_a_permission_that_is_missing_is_named(release: Release) -> None:
    account = {"serviceAccount": "default", "backoffLimit": 0}
    done = release.helm("install", launcher=account)
    assert done.code == 0, done.stderr

    job = release.ended()

    assert (_failure(job), release.exit_code(job)) == ("BackoffLimitExceeded", 6)
    user = f"system:serviceaccount:{release.laptop.namespace}:default"
    assert f"no permission: {user} may not" in "\n".join(release.log(job))
    assert release.runs() == set()


def _failure(job: Object) -> str:
    """Why the Job failed."""
    failed = condition(job, "Failed")
    assert failed is not None
    return str(failed["reason"])


def _run_in(lines: list[str]) -> str:
    """The run's id, which stands on a line of its own."""
    return next(line for line in lines if is_run_id(line))


def _is_what_render_prints(release: Release, run_id: str, wanted: list[Object]) -> None:
    """The same, and the release's owner on each."""
    namespace = release.laptop.namespace
    live = present_objects(release.cluster, namespace, run_id)
    found = [(each.what, each.kind, each.lines) for each in differences(wanted, live)]
    assert found == [("same", body["kind"], ()) for body in wanted], json.dumps(found)
    owner = release.cluster.get(kinds.CONFIG_MAP, f"{NAME}-owner", namespace)["metadata"]
    assert [body["metadata"]["ownerReferences"] for body in live] == [
        [{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"]}]
    ] * len(wanted)
