"""`ftctl compare` over a store, as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.contract.layout import RunLayout
from ftctl.storage.folder import FolderStore
from tests import report_records as made
from tests.report_stores import LAYOUT, put_index, put_run

OTHER = "quickstart-77c0de15ab42"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """The made-up run, and another with half its loss lines and other settings."""
    store = FolderStore(tmp_path / "store")
    put_run(store)
    for name in ("config", "status", "metrics", "success"):
        source, target = getattr(LAYOUT, name), getattr(RunLayout(OTHER), name)
        store.write(target, store.read(source).replace(b"lora_r: 16", b"lora_r: 64"))
    put_index(store, OTHER, hours=1)
    return store


def run(store: FolderStore, *args: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["compare", *args, f"storage.url={store.url}"])


def test_runs_are_laid_side_by_side(store: FolderStore) -> None:
    done = run(store, made.RUN_ID, "quickstart-77")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:2] == [["[1]", made.RUN_ID], ["[2]", OTHER]]
    assert ["model.lora_r", "16", "64"] in lines
    assert ["state", "succeeded", "succeeded"] in lines


def test_json_is_one_object(store: FolderStore) -> None:
    told = json.loads(run(store, made.RUN_ID, OTHER, "--json").stdout)
    assert list(told) == ["runs", "inputs", "results", "problems"]
    assert told["inputs"] == [{"name": "model.lora_r", "values": ["16", "64"]}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param((), "no run to compare, where two or more are needed", id="none"),
        pytest.param((OTHER,), "1 run to compare, where two or more are needed", id="one"),
        pytest.param((OTHER, OTHER), f"a run is named twice: {OTHER}, {OTHER}", id="twice"),
        pytest.param((OTHER, "quick"), "'quick' may be any of 2 runs", id="which"),
    ],
)
def test_refuses(store: FolderStore, args: tuple[str, ...], message: str) -> None:
    done = run(store, *args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
