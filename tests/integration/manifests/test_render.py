"""`ftctl render` as users run it; the only thing that is not here is a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.contract.operational import StorageConfig
from ftctl.data.digest import pull_record
from ftctl.storage.models import has_model
from ftctl.storage.open import open_store

PROJECT = Path(__file__).parents[3]
SMOKE = ["experiment=smoke", "cluster=cpu"]
PLACE = "storage.url=s3://bucket/runs"
COMMIT = "a" * 40
KINDS = ["ServiceAccount", "ConfigMap", "NetworkPolicy", "Job", "Job"]


def render(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["render", *arguments])


def documents(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


def test_stdout_is_yaml_alone_and_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    first, second = render(*SMOKE, PLACE), render(*SMOKE, PLACE)

    assert [body["kind"] for body in documents(first)] == KINDS
    assert first.stdout == second.stdout
    assert first.stderr == (
        "Pods read the data set and the base model from s3://bucket/runs; "
        "`ftctl render --push` uploads what is not there.\n"
    )


def test_json_is_a_list_that_kubectl_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    answer = json.loads(render(*SMOKE, PLACE, "--json").stdout)

    assert (answer["apiVersion"], answer["kind"]) == ("v1", "List")
    assert answer["items"] == documents(render(*SMOKE, PLACE))


def test_another_folder_gives_the_same_objects(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    here = render(*SMOKE, PLACE)
    shutil.copytree(PROJECT / "data", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)

    there = render(*SMOKE, PLACE, f"dataset.train={tmp_path}/elsewhere/quickstart/train.json")

    assert here.exit_code == 0
    assert there.stdout == here.stdout


def test_a_folder_store_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)

    done = render(*SMOKE)

    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        "error: storage.url: the store is a folder, and pods cannot reach this machine\n"
        "Name a bucket: storage=s3 storage.url=s3://bucket/prefix.\n"
    )


def test_a_pinned_hub_model_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    model = ["model.model_name=org/model", f"model.revision={COMMIT}"]

    done = render(*SMOKE, PLACE, *model)

    assert [body["kind"] for body in documents(done)] == KINDS
    assert done.stderr == (
        "Pods read the data set from s3://bucket/runs; "
        "`ftctl render --push` uploads what is not there.\n"
    )


def test_a_folder_for_git_has_a_folder_a_run_and_no_time_to_live(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    wanted = [
        "serviceaccount.yaml",
        "configmap.yaml",
        "networkpolicy.yaml",
        "job-train.yaml",
        "job-convert.yaml",
    ]

    done = render(*SMOKE, PLACE, "cluster.ttl=60", "-o", str(tmp_path), "--json")

    assert done.exit_code == 0, done.stderr
    answer = json.loads(done.stdout)
    folder = tmp_path / answer["run_id"]
    assert answer["files"] == [
        *(str(folder / name) for name in [*wanted, "kustomization.yaml"]),
        str(tmp_path / "kustomization.yaml"),
    ]
    assert yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"] == wanted
    written = [yaml.safe_load((folder / name).read_text()) for name in wanted]
    assert written == documents(render(*SMOKE, PLACE))
    assert "ttlSecondsAfterFinished" not in json.dumps(written)


def test_push_brings_data_and_model_to_the_store_and_a_digest_then_needs_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, s3_config: StorageConfig
) -> None:
    monkeypatch.chdir(PROJECT)
    store = open_store(s3_config)
    place = [f"storage.url={s3_config.url}", f"storage.endpoint_url={s3_config.endpoint_url}"]

    pushed = render(*SMOKE, *place, "--push", "--json")

    assert pushed.exit_code == 0, pushed.stderr
    text = json.loads(pushed.stdout)["items"][1]["data"]["config.yaml"]
    run = yaml.safe_load(text)
    digest, revision = run["data"]["digest"], run["model"]["revision"]
    pins = [f"dataset.train=sha256:{digest}", "dataset.eval=null", f"model.revision={revision}"]
    assert pushed.stderr == (
        f"The same run, from a machine that has none of its files: {' '.join(pins)}\n"
    )
    assert pull_record(store, digest).rows == {"train": 14, "eval": 2}
    from ftctl.contract.runfile import ModelSource

    assert has_model(store, ModelSource.model_validate(run["model"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ftctl.runs.model.PACKAGE", "this machine has no such package")
    again = render(*SMOKE, *place, *pins)
    [known] = [body for body in documents(again) if body["kind"] == "ConfigMap"]
    there = yaml.safe_load(known["data"]["config.yaml"])
    assert there["data"].pop("sources") == [f"sha256:{digest}"]
    assert run["data"].pop("sources") == ["train.json"]
    assert there == run


def test_a_data_set_by_digest_needs_the_store(
    monkeypatch: pytest.MonkeyPatch, s3_env: None
) -> None:
    monkeypatch.chdir(PROJECT)
    nobody = "storage.endpoint_url=http://127.0.0.1:9"

    assert render(*SMOKE, PLACE, nobody).exit_code == 0
    done = render(*SMOKE, PLACE, nobody, f"dataset.train=sha256:{'0' * 64}")
    assert (done.exit_code, done.stdout) == (5, "")


def test_a_secret_that_a_token_refers_to_is_the_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)

    *_, job = documents(
        render(*SMOKE, PLACE, "other.hf_login=true", "other.hf_token=secret:hub/token")
    )

    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["env"][-1] == {
        "name": "HF_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}},
    }


def test_certificates_of_the_profile_and_of_the_store_go_to_the_pods(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    pem = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    for name in ("one", "two"):
        (tmp_path / name).write_text(pem.format(name))

    objects = documents(
        render(
            *SMOKE,
            PLACE,
            f"cluster.ca_bundle={tmp_path}/one",
            f"storage.ca_bundle={tmp_path}/two",
        )
    )

    assert objects[1]["data"]["ca.pem"] == pem.format("one") + pem.format("two")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot be read: No such file or directory", id="missing"),
        pytest.param(b"\xff\xfe", "cannot be read: it is no text", id="binary"),
        pytest.param(b"hello", "has no certificate", id="no-certificate"),
    ],
)
def test_a_file_that_is_no_certificate_is_refused(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(PROJECT)
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    done = render(*SMOKE, PLACE, f"cluster.ca_bundle={file}")

    assert (done.exit_code, done.stdout) == (3, "")
    assert f"cluster.ca_bundle: {file} {message}" in done.stderr
