"""`ftctl doctor` where no cluster is known: what is here is checked all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftctl.app import app
from ftctl.contract.operational import StorageConfig
from ftctl.errors import StorageError
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from ftctl.storage.probe import main, probe
from ftctl.storage.runs import to_yaml
from tests import report_records as made


def test_without_a_kubeconfig_the_store_and_the_model_are_still_checked(
    s3_config: StorageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    place = [f"storage.url={s3_config.url}", f"storage.endpoint_url={s3_config.endpoint_url}"]
    done = CliRunner().invoke(app, ["doctor", "--json", "model=smollm2-135m", *place])
    assert done.exit_code == 6
    told = json.loads(done.stdout)
    assert [(item["check"], item["status"]) for item in told["findings"]] == [
        ("cluster", "fail"),
        ("storage", "ok"),
        ("model", "ok"),
        ("storage in the cluster", "warn"),
    ]
    assert told["findings"][0]["what"] == "there is no kubeconfig"
    assert told["findings"][0]["fix"] == "Set KUBECONFIG to the file that leads to your cluster."


def test_a_store_is_tried_and_left_as_it_was(store: Store) -> None:
    probe(store)
    assert list(store.list()) == []


def test_the_probe_of_a_pod_says_what_is_wrong(
    s3_config: StorageConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = made.run_file()
    config = run.config.model_copy(update={"storage": s3_config})
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(run.model_copy(update={"config": config})))
    assert main(path) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-key")
    assert main(path) == StorageError.exit_code
    said = capsys.readouterr().out
    assert "the secret key does not belong to the access key" in said
    assert "wrong-secret-key" not in said


def test_a_store_without_conditional_writes_is_refused(tmp_path: Path) -> None:
    store = open_store(StorageConfig(url=str(tmp_path)))

    class Careless:
        """A server that takes every write, as older ones do."""

        url = store.url
        read, list, delete = store.read, store.list, store.delete

        def write(self, key: str, data: bytes, **_: object) -> str:
            return store.write(key, data)

    with pytest.raises(StorageError, match="the store ignores conditional writes"):
        probe(Careless())  # type: ignore[arg-type]
    assert list(store.list()) == []
