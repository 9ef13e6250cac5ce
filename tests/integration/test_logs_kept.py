"""Logs of attempts whose pods are gone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftctl.app import app
from ftctl.cluster import place as module
from ftctl.contract.clusterview import Reason
from ftctl.contract.labels import run_labels
from ftctl.contract.placement import FailureRecord, Placement
from ftctl.storage.folder import FolderStore
from ftctl.storage.placement import write_failure, write_placement
from tests.integration.published_run import LAYOUT
from tests.unit.cluster.memory_api import memory_cluster


def failed(pod: str, minute: int) -> FailureRecord:
    return FailureRecord(
        stage="train",
        pod=pod,
        job="bot-train",
        time=datetime(2026, 3, 1, 14, minute, tzinfo=UTC),
        reason=Reason(code="Exit5", what="exit code 5"),
        log=[f"the last words of {pod}"],
    )


def test_what_was_kept_of_pods_that_are_gone_comes_first_and_of_others_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = {"namespace": "ml", "creationTimestamp": "2026-03-01T14:03:00Z", "uid": "1"}
    labels = run_labels(LAYOUT.run_id, "train")
    pod = {"kind": "Pod", "metadata": {**meta, "name": "there", "labels": labels}, "status": {}}
    monkeypatch.setattr(module, "open_cluster", lambda *_, **__: memory_cluster(pod))
    store = FolderStore(tmp_path)
    store.write(LAYOUT.config, b"")
    write_placement(store, LAYOUT.run_id, Placement(server="https://lab", namespace="ml"))
    for record in (failed("second", 2), failed("first", 1), failed("there", 3)):
        write_failure(store, LAYOUT.run_id, record)

    done = CliRunner().invoke(app, ["logs", LAYOUT.run_id, f"storage.url={tmp_path}"])

    assert done.stdout.splitlines() == [
        "train    the last words of first",
        "train    the last words of second",
    ]
