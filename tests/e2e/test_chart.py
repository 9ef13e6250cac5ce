"""The chart as Helm sees it: checked, rendered, packaged. No cluster is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ftctl import __version__
from ftctl.config.axes import read_swept
from ftctl.config.compose import compose
from tests.e2e.helm import CHART, helm, launched, needs_helm, of_kind, pod, rendered
from tests.e2e.oci_registry import registry

pytestmark = needs_helm

VALUES: dict[str, Any] = {
    "experiment": "smoke",
    "overrides": ["dataset.limit=8"],
    "config": {
        "defaults": [{"storage": "s3-compatible"}, {"cluster": "mine"}],
        "training": {"learning_rate": 1e-3},
        "storage": {
            "url": "s3://bucket/ftctl",
            "endpoint_url": "http://s3:9000",
            "secret": "s3-keys",
        },
        "cluster": {"hf_secret": "hub/token"},
    },
    "files": {"cluster/mine.yaml": "gpus: 0\n"},
}
WEEKLY = {"schedule": {"cron": "0 3 * * 1", "timeZone": "Europe/Paris"}}


def test_lint_finds_nothing() -> None:
    done = helm("lint", "--strict", str(CHART), values=VALUES)

    assert (done.code, "0 chart(s) failed" in done.stdout) == (0, True), done.stdout


@pytest.mark.parametrize("values", [VALUES, VALUES | WEEKLY], ids=["once", "weekly"])
@pytest.mark.parametrize("version", ["1.32", "1.36"])
def test_every_object_is_valid(values: dict[str, Any], version: str) -> None:
    for body in rendered(values).values():
        assert kubernetes_validate.validate(body, version, strict=True) == version


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"experimnt": "smoke"}, "'experimnt' not allowed", id="misspelt"),
        pytest.param(
            {"config": {"training": {"learning_rat": 1}}},
            "at '/config/training': additional properties 'learning_rat' not allowed",
            id="misspelt-key",
        ),
        pytest.param(
            {"config": {"training": {"learning_rate": -1}}},
            "at '/config/training/learning_rate'",
            id="out-of-range",
        ),
        pytest.param(
            {"overrides": ["cluster.namespace=other"]},
            "a release launches in its own namespace",
            id="another-namespace",
        ),
        pytest.param(
            {"config": {"name": "x"}, "files": {"config.yaml": "name: y"}},
            "are both a whole configuration",
            id="two-configurations",
        ),
        pytest.param(
            {"sweep": {"parallel": 0}}, "at '/sweep/parallel'", id="a-sweep-of-none-at-once"
        ),
        pytest.param(
            {"sweep": {"parallel": 1}, "schedule": {"cron": "@daily", "always": True}},
            "a sweep is the same",
            id="a-new-sweep-each-time",
        ),
    ],
)
def test_values_that_are_wrong_are_refused_with_where(values: dict[str, Any], said: str) -> None:
    done = helm("template", "demo", str(CHART), values=values)

    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr


def test_the_launcher_composes_what_the_values_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "unused")
    folder, arguments = launched(rendered(VALUES), tmp_path)
    command = ["submit", "--yes", "--owner=demo-owner", "--config-dir=/config"]
    overrides = arguments[len(command) :]

    assert arguments[: len(command)] == command
    found = compose(overrides, config_dir=folder)

    storage = VALUES["config"]["storage"]
    by_hand = [
        "experiment=smoke",
        "storage=s3-compatible",
        *(f"storage.{key}={value}" for key, value in storage.items()),
        "cluster.gpus=0",
        "cluster.hf_secret=hub/token",
        "cluster.namespace=ml",
        "training.learning_rate=1e-3",
        "dataset.limit=8",
    ]
    assert found == compose(by_hand)


@pytest.mark.parametrize(
    ("experiment", "cluster", "storage", "engine"),
    [
        # Every pair of two choices.
        ("smoke", "cpu", "s3", "job"),
        ("smoke", "h100", "s3-compatible", "jobset"),
        ("quickstart", "cpu", "s3-compatible", "job"),
        ("quickstart", "h100", "s3", "jobset"),
        (None, "cpu", "s3-compatible", "jobset"),
        (None, "h100", "s3", "job"),
    ],
)
def test_choices_in_values_are_those_of_a_command(
    experiment: str | None,
    cluster: str,
    storage: str,
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("FTCTL_STORE_URL", "s3://unused")
    folder, arguments = launched(
        rendered(
            {
                "experiment": experiment,
                "config": {
                    "defaults": [{"cluster": cluster}, {"storage": storage}],
                    "storage": {"url": "s3://bucket/x"},
                    "cluster": {"engine": engine},
                },
            }
        ),
        tmp_path,
    )

    found = compose([one for one in arguments if "=" in one and one[0] != "-"], config_dir=folder)

    chosen = [f"experiment={experiment}"] if experiment else []
    chosen += [f"cluster={cluster}", f"storage={storage}", f"cluster.engine={engine}"]
    assert found == compose([*chosen, "storage.url=s3://bucket/x", "cluster.namespace=ml"])


def test_a_sweep_is_launched_from_the_pod_and_stays_until_its_end(tmp_path: Path) -> None:
    swept = "training.learning_rate=1e-4,3e-4"
    values = {**VALUES, "overrides": [swept], "sweep": {"parallel": 3, "alias": "best"}}
    objects = rendered(values)
    folder, arguments = launched(objects, tmp_path)

    assert arguments[:7] == [
        "sweep",
        "--from-here",
        "--yes",
        "--parallel=3",
        "--by=loss",
        "--alias=best",
        "--owner=demo-owner",
    ]
    found = read_swept(arguments[8:], searching=False, config_dir=folder)
    assert [axis.values for axis in found.axes] == [["0.0001", "0.0003"]]
    assert "activeDeadlineSeconds" not in of_kind(objects, "Job")["spec"]
    more = rendered({**values, "sweep": {"parallel": 3, "stopBad": True, "search": 5}})
    assert {"--stop-bad", "--search=5"} < set(launched(more, tmp_path)[1])


def test_an_older_whole_configuration_is_taken_as_a_file(tmp_path: Path) -> None:
    older = "training: {use_sft: true, max_steps: 7}\n"
    folder, arguments = launched(
        rendered({"experiment": "smoke", "files": {"config.yaml": older}}), tmp_path
    )

    assert "experiment=smoke" in arguments
    assert compose([], config_dir=folder).training.max_steps == 7


def test_secrets_come_by_name_alone_from_config_or_overrides() -> None:
    overrides = ["storage.secret=theirs", "storage.endpoint_url=https://s3:8443/x"]
    objects = rendered({**VALUES, "overrides": overrides, "launcher": {"secrets": ["proxy"]}})
    [container] = pod(objects)["containers"]

    names = [one["secretRef"]["name"] for one in container["envFrom"]]
    assert names == ["theirs", "proxy"]
    [token] = [one for one in container["env"] if one["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    egress = of_kind(objects, "NetworkPolicy")["spec"]["egress"]
    assert [one["port"] for one in egress[1]["ports"]] == [443, 6443, 8443]
    resources = {name for rule in of_kind(objects, "Role")["rules"] for name in rule["resources"]}
    assert "secrets" not in resources


def test_a_change_is_another_job_and_no_change_is_the_same() -> None:
    first, again = rendered(VALUES), rendered(VALUES)
    other = rendered(VALUES, "--set", "config.training.learning_rate=2e-3")

    assert again == first
    assert of_kind(other, "Job")["metadata"]["name"] != of_kind(first, "Job")["metadata"]["name"]
    changed = {name for name in first if other.get(name) != first[name]}
    assert {name.split()[0] for name in changed} == {"Job", "ConfigMap", "Pod"}
    assert "ConfigMap demo-owner" not in changed


def test_runs_that_are_kept_have_no_owner() -> None:
    objects = rendered({**VALUES, "keepRuns": True})

    assert not [one for one in pod(objects)["containers"][0]["args"] if "owner" in one]
    owner = objects["ConfigMap demo-owner"]["metadata"]
    assert owner["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_an_account_that_is_there_is_used_as_it_is() -> None:
    objects = rendered({**VALUES, "launcher": {"serviceAccount": "ours"}})

    assert pod(objects)["serviceAccountName"] == "ours"
    assert not {"ServiceAccount", "Role", "RoleBinding"} & {name.split()[0] for name in objects}


def test_it_is_pushed_to_a_registry_and_rendered_from_there(tmp_path: Path) -> None:
    with registry() as host:
        place = f"oci://{host}/charts"
        made = subprocess.run(
            ["make", "chart", f"REGISTRY={place}", f"DIST={tmp_path}", "HELM_PUSH=--plain-http"],
            cwd=CHART.parents[1],
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stderr
        there = [f"{place}/ftctl", "--version", __version__, "--plain-http"]
        done = helm("template", "demo", *there, "-n", "ml", values=VALUES)

    assert done.code == 0, done.stderr
    assert list(yaml.safe_load_all(done.stdout)) == list(rendered(VALUES).values())


def test_a_schedule_launches_the_same_again_and_again() -> None:
    objects = rendered(VALUES | WEEKLY)
    always = rendered(VALUES | {"schedule": {"cron": "@daily", "always": True}})

    spec = of_kind(objects, "CronJob")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("0 3 * * 1", "Europe/Paris")
    assert spec["jobTemplate"]["spec"] == of_kind(rendered(VALUES), "Job")["spec"]
    assert not [name for name in objects if name.startswith("Job ")]
    [container] = of_kind(always, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--new" in container["args"]
