"""Published files at a model hub, through the hub's own library."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml

from ftctl.contract.runfile import ModelSource
from ftctl.errors import StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.pushed import read_pushed
from ftctl_trainer.push.licence import base_licence
from tests import report_records as made
from tests.integration.published_run import LAYOUT
from tests.integration.push.conftest import GGUF, Push
from tests.integration.push.hub_server import Hub

NAME = "home/assistant-GGUF"
LARGE = {hashlib.sha256(body).hexdigest() for name, body in GGUF.items() if ".gguf" in name}


def test_the_files_and_a_card_are_one_commit_of_a_private_repository(
    hub: Hub, push: Push, store: FolderStore
) -> None:
    push(hub=NAME)

    files = hub.repositories[NAME]
    assert set(files) == {*GGUF, "SHA256SUMS", "README.md"}
    assert {name: files[name] for name in GGUF} == GGUF
    assert hub.commits == [made.RUN_ID]
    assert hub.private[NAME]
    [done] = read_pushed(store, made.RUN_ID).pushes
    assert (done.target, done.place, done.revision) == ("hub", NAME, f"{1:040x}")
    assert done.manifest_sha256 == hashlib.sha256(store.read(LAYOUT.manifest)).hexdigest()


def test_the_card_says_what_the_files_are_and_where_they_come_from(hub: Hub, push: Push) -> None:
    push(hub=NAME)

    card = hub.repositories[NAME]["README.md"].decode()
    run = made.run_file()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["tags"] == ["gguf", "lora", "ftctl"]
    for said in (run.model.revision, run.data.digest, "Q4_1", "Q8_0", "88.3%", "not known here"):
        assert said in card


def test_the_licence_of_a_hub_model_is_that_of_its_card(hub: Hub) -> None:
    hub.repositories["org/base"], hub.licences["org/base"] = {}, "apache-2.0"
    source = ModelSource(name="org/base", kind="hub", revision="a" * 40)

    assert base_licence(source) == "apache-2.0"
    assert base_licence(source.model_copy(update={"name": "org/other"})) is None


def test_a_second_push_sends_nothing(hub: Hub, push: Push, store: FolderStore) -> None:
    push(hub=NAME)
    push(hub=NAME)
    assert hub.commits == [made.RUN_ID]

    store.delete(LAYOUT.pushed)
    push(hub=NAME)

    assert hub.commits == [made.RUN_ID]
    assert sorted(hub.uploads) == sorted(LARGE)
    [done] = read_pushed(store, made.RUN_ID).pushes
    assert (done.target, done.place) == ("hub", NAME)


def test_a_retry_sends_only_what_is_missing(hub: Hub, push: Push, store: FolderStore) -> None:
    hub.may_commit = False
    with pytest.raises(StorageError, match=r"the hub refused: .*the disk is full") as caught:
        push(hub=NAME)
    assert caught.value.exit_code == 5
    assert store.stat(LAYOUT.success) is not None
    assert hub.repositories[NAME] == {}
    hub.may_commit = True

    push(hub=NAME)

    assert sorted(hub.uploads) == sorted(LARGE)
    assert set(hub.repositories[NAME]) == {*GGUF, "SHA256SUMS", "README.md"}


def _forbid(hub: Hub, environment: pytest.MonkeyPatch) -> None:
    hub.may_write = False


def _no_token(hub: Hub, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("HF_TOKEN")


def _other_token(hub: Hub, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HF_TOKEN", "of-somebody-else")


def _data_set(hub: Hub, environment: pytest.MonkeyPatch) -> None:
    hub.repositories[f"datasets/{NAME}"] = {}


def _gone(hub: Hub, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("damage", "want"),
    [
        pytest.param(_no_token, "there is no token for the model hub", id="no-token"),
        pytest.param(_other_token, "does not know this token", id="wrong-token"),
        pytest.param(_forbid, "the token may not write there", id="no-permission"),
        pytest.param(_data_set, "there is a data set of this name", id="another-kind"),
        pytest.param(_gone, "the model hub does not answer", id="no-answer"),
    ],
)
def test_a_refusal_says_why_and_loses_nothing(
    damage: Any,
    want: str,
    hub: Hub,
    push: Push,
    store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(hub, monkeypatch)

    with pytest.raises(StorageError, match=want) as caught:
        push(hub=NAME)

    assert caught.value.exit_code == 5
    assert caught.value.where == f"publish.hub={NAME}"
    assert store.stat(LAYOUT.success) is not None
    assert read_pushed(store, made.RUN_ID).pushes == []
