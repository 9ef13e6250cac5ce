"""Published files as an artifact of an OCI registry."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ftctl.contract.layout import RunLayout
from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.pushed import read_pushed
from tests import report_records as made
from tests.e2e.oci_registry import Behaviour, registry
from tests.integration.published_run import LAYOUT
from tests.integration.push.conftest import GGUF, Push

NAMES = ["Modelfile", "SHA256SUMS", "home-Q4_1.gguf", "home-Q8_0.gguf", "README.md"]


def _get(host: str, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{host}/v2/ml/home/{path}") as response:
        return bytes(response.read())


def test_each_file_is_a_layer_that_has_its_name(push: Push, store: FolderStore) -> None:
    with registry() as host:
        push(oci=f"http://{host}/ml/home:prod")
        body = _get(host, "manifests/prod")
        manifest = json.loads(body)
        layers = {
            layer["annotations"]["org.opencontainers.image.title"]: _get(
                host, f"blobs/{layer['digest']}"
            )
            for layer in manifest["layers"]
        }
        config = _get(host, f"blobs/{manifest['config']['digest']}")

    assert list(layers) == NAMES
    assert {name: layers[name] for name in GGUF} == GGUF
    assert layers["README.md"].startswith(b"---\n")
    assert config == b"{}"
    assert manifest["artifactType"] == "application/vnd.ftctl.model.v1"
    assert manifest["layers"][2]["mediaType"] == "application/vnd.ftctl.model.gguf"
    [done] = read_pushed(store, made.RUN_ID).pushes
    assert done.revision == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_without_a_tag_the_runs_id_is_the_tag(push: Push) -> None:
    with registry() as host:
        push(oci=f"http://{host}/ml/home")
        found = json.loads(_get(host, f"manifests/{made.RUN_ID}"))

    assert found["annotations"]["org.opencontainers.image.title"] == made.RUN_ID


def test_a_login_is_traded_for_a_token(
    push: Push, monkeypatch: pytest.MonkeyPatch, store: FolderStore
) -> None:
    monkeypatch.setenv("OCI_USERNAME", "robot")
    monkeypatch.setenv("OCI_PASSWORD", "for:tests")
    with registry(Behaviour(login="robot:for:tests")) as host:
        push(oci=f"http://{host}/ml/home")

    assert [done.target for done in read_pushed(store, made.RUN_ID).pushes] == ["oci"]


def test_the_login_of_docker_is_taken(
    push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: FolderStore
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with registry(Behaviour(login="me:secret")) as host:
        auth = base64.b64encode(b"me:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        push(oci=f"http://{host}/ml/home")

    assert [done.target for done in read_pushed(store, made.RUN_ID).pushes] == ["oci"]


def test_a_retry_sends_only_what_is_missing(push: Push) -> None:
    behaviour = Behaviour(refuse={("PUT", f"manifests/{made.RUN_ID}"): 500})
    with registry(behaviour) as host:
        place = f"http://{host}/ml/home"
        with pytest.raises(StorageError, match=r"answered 500 \(not for you\)") as caught:
            push(oci=place)
        sent = [path for method, path in behaviour.seen if method == "PUT" and "uploads" in path]
        behaviour.refuse.clear()
        behaviour.seen.clear()

        push(oci=place)

    assert caught.value.exit_code == 5
    assert len(sent) == len(NAMES) + 1
    assert [seen for seen in behaviour.seen if seen[0] in ("POST", "PUT")] == [
        ("PUT", f"/v2/ml/home/manifests/{made.RUN_ID}")
    ]


def test_a_published_run_is_pushed_by_a_resume_that_names_a_place(store: FolderStore) -> None:
    """By the real processes: the first push is refused, and the run stays published."""
    behaviour = Behaviour(refuse={("POST", "uploads/"): 403})
    resume = [sys.executable, "-m", "ftctl.app", "resume", made.RUN_ID, f"storage.url={store.url}"]
    with registry(behaviour) as host:
        command = [*resume, f"publish.oci=http://{host}/ml/home"]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        listed = read_status(store, LAYOUT)
        behaviour.refuse.clear()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        pushed = json.loads(_get(host, f"manifests/{made.RUN_ID}"))
        again = subprocess.run(command, capture_output=True, text=True, check=False)

    assert refused.returncode == 5, refused.stderr
    assert "this login may not push there (not for you)" in refused.stderr
    assert listed == "failed"
    assert done.returncode == 0, done.stderr
    assert len(pushed["layers"]) == len(NAMES)
    assert read_status(store, LAYOUT) == "succeeded"
    assert f"{made.RUN_ID} is published already." in again.stderr


def read_status(store: FolderStore, layout: RunLayout) -> str:
    """The state that the last process left."""
    return str(json.loads(store.read(layout.status))["state"])


def test_a_tag_of_something_else_is_left_alone(push: Push) -> None:
    with registry() as host:
        chart = b'{"mediaType": "application/vnd.oci.image.manifest.v1+json"}'
        url = f"http://{host}/v2/ml/home/manifests/v1"
        urllib.request.urlopen(urllib.request.Request(url, chart, method="PUT")).close()

        with pytest.raises(StorageError, match="stands for something else there: application/vnd"):
            push(oci=f"http://{host}/ml/home:v1")

        assert _get(host, "manifests/v1") == chart


@pytest.mark.parametrize(
    ("behaviour", "login", "want"),
    [
        pytest.param(Behaviour(login="a:b"), None, "wants a login, and there is none", id="none"),
        pytest.param(Behaviour(login="a:b"), ("a", "c"), "does not take this login", id="wrong"),
        pytest.param(
            Behaviour(refuse={("POST", "uploads/"): 403}),
            None,
            r"this login may not push there \(not for you\)",
            id="no-permission",
        ),
        pytest.param(
            Behaviour(refuse={("POST", "uploads/"): 404}),
            None,
            "the registry takes nothing there",
            id="no-repository",
        ),
    ],
)
def test_a_refusal_says_why_and_loses_nothing(
    behaviour: Behaviour,
    login: tuple[str, str] | None,
    want: str,
    push: Push,
    store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if login:
        monkeypatch.setenv("OCI_USERNAME", login[0])
        monkeypatch.setenv("OCI_PASSWORD", login[1])
    with registry(behaviour) as host, pytest.raises(StorageError, match=want) as caught:
        push(oci=f"http://{host}/ml/home")

    assert caught.value.exit_code == 5
    assert store.stat(LAYOUT.success) is not None
    assert read_pushed(store, made.RUN_ID).pushes == []


def test_a_registry_that_is_not_there_is_named(push: Push) -> None:
    with pytest.raises(StorageError, match=r"the registry does not answer: .*refused") as caught:
        push(oci="http://127.0.0.1:9/ml/home")

    assert caught.value.where == "publish.oci=127.0.0.1:9/ml/home"
