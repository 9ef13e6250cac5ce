"""Waiting for a run in a cluster that does not always answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import ReadTimeoutError

from ftctl.cluster import logs
from ftctl.cluster.failures import UnreachableError
from ftctl.cluster.place import Place
from ftctl.commands import attach as module
from ftctl.commands.attach import attach
from ftctl.contract.labels import run_labels
from ftctl.contract.layout import RunLayout
from ftctl.errors import RunFailedError
from ftctl.storage.folder import FolderStore
from tests.unit.cluster.memory_api import MemoryApi, memory_cluster

RUN, AT = "bot-0123456789ab", "2026-03-01T14:00:00Z"


class Unsteady(MemoryApi):
    """Gives no answer to some of the first requests."""

    def __init__(self, objects: list[dict[str, Any]], silent: range) -> None:
        super().__init__(objects)
        self.asked, self.silent = 0, silent

    def call_api(self, path: str, method: str, **options: Any) -> dict[str, Any]:
        self.asked += 1
        if self.asked in self.silent:
            raise ReadTimeoutError(None, path, "no answer")  # type: ignore[arg-type]
        return super().call_api(path, method, **options)


def failed_job() -> dict[str, Any]:
    ended = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    meta = {"name": "bot-train", "namespace": "ml", "uid": "1", "creationTimestamp": AT}
    return {
        "kind": "Job",
        "metadata": {**meta, "labels": run_labels(RUN, "train")},
        "spec": {"activeDeadlineSeconds": 60},
        "status": {"conditions": [{**ended, "lastTransitionTime": AT}]},
    }


def place(api: MemoryApi) -> Place:
    cluster = memory_cluster()
    cluster._api = api
    return Place(cluster, "ml", RUN)


def test_a_cluster_that_is_silent_for_a_while_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0)
    monkeypatch.setattr(logs, "POLL_S", 0.01)
    store = FolderStore(tmp_path)

    with pytest.raises(RunFailedError, match="it took longer than the 60 s it may"):
        attach(store, place(Unsteady([failed_job()], range(1, 6))), quiet=False)

    assert capsys.readouterr().err.count("the API server does not answer") == 1
    assert store.stat(RunLayout(RUN).failure("bot-train")) is not None


def test_who_waits_in_vain_is_told_that_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0)
    monkeypatch.setattr(logs, "POLL_S", 0.01)
    monkeypatch.setattr(module, "_PATIENCE_S", 0)

    with pytest.raises(UnreachableError, match="does not answer: ReadTimeoutError") as caught:
        attach(FolderStore(tmp_path), place(Unsteady([], range(1, 9999))), quiet=True)
    assert f"`ftctl logs -f {RUN}` comes back" in str(caught.value.hint)
