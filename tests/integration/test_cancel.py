"""`ftctl cancel` where the run's cluster cannot be reached, or there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftctl.app import app
from ftctl.contract.layout import RunLayout
from ftctl.contract.placement import Placement
from ftctl.storage.folder import FolderStore
from ftctl.storage.index import list_runs, mark_run
from ftctl.storage.placement import write_placement
from ftctl.storage.runs import register
from ftctl.storage.tombstones import find_tombstone
from tests.run_files import RUN_ID, a_run


@pytest.mark.parametrize(
    ("placement", "code", "said"),
    [
        pytest.param(None, 0, f"go on with it    ftctl resume {RUN_ID}", id="in-no-cluster"),
        pytest.param(
            Placement(server="https://lab.invalid", namespace="ml"),
            6,
            "its Jobs could not be deleted: there is no kubeconfig\n"
            "Its pods find in the store that it is cancelled, and end by themselves.",
            id="no-way-to-the-cluster",
        ),
    ],
)
def test_the_store_says_that_a_run_is_cancelled_whatever_the_cluster_says(
    placement: Placement | None,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    store = FolderStore(tmp_path)
    mark_run(store, register(store, a_run()), "running")
    if placement:
        write_placement(store, RUN_ID, placement)

    done = CliRunner().invoke(app, ["cancel", RUN_ID, f"storage.url={tmp_path}"])

    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    found = find_tombstone(store, RunLayout(RUN_ID))
    assert found is not None
    assert found.kind == "cancelled"
    assert [run.state for run in list_runs(store)] == ["cancelled"]
