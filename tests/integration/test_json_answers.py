"""What commands print with --json is what docs/reference/json-schema.json describes."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from typer.testing import CliRunner

from ftctl.app import app, load_command
from ftctl.commands.answers import PRINTED
from ftctl.contract.layout import RunLayout
from ftctl.contract.spec import Config
from ftctl.storage.folder import FolderStore
from tests import report_records as made
from tests.integration.published_run import LAYOUT, publish
from tests.report_stores import put_index, put_run

PROJECT = Path(__file__).parents[2]
GENERATE = runpy.run_path(str(PROJECT / "docs" / "generate.py"))
SCHEMA = json.loads((PROJECT / "docs" / "reference" / "json-schema.json").read_text())
NOT_STARTED = "waiting-0123456789ab"
OTHER = "quickstart-77c0de15ab42"
PLACE = "storage.url=s3://bucket/runs"
QUICKSTART = ["dataset=quickstart", "model=smollm2-135m"]

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command with --json in the project's folder; its answer, checked against the schema."""
    monkeypatch.chdir(PROJECT)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    def call(command: str, *arguments: str, exit_code: int = 0) -> Any:
        done = CliRunner().invoke(app, [*command.split(), "--json", *arguments])
        assert done.exit_code == exit_code, done.stderr
        told = json.loads(done.stdout)
        assert problems(command, told) == []
        return told

    return call


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A finished run, another with other settings, and one whose first stage never started."""
    store = FolderStore(tmp_path / "store")
    put_run(store)
    for name in ("config", "status", "metrics", "success"):
        source, target = getattr(LAYOUT, name), getattr(RunLayout(OTHER), name)
        store.write(target, store.read(source).replace(b"lora_r: 16", b"lora_r: 64"))
    for run_id in (OTHER, NOT_STARTED):
        put_index(store, run_id, hours=1)
    config = store.read(LAYOUT.config)
    store.write(RunLayout(NOT_STARTED).config, config.replace(made.RUN_ID.encode(), b"waiting"))
    return store


def problems(command: str, told: Any) -> list[str]:
    """What in an answer is not as documented: unlike the schema, or unknown to the models."""
    if PRINTED[command] is Config:
        schema = Config.model_json_schema(mode="serialization")
    else:
        schema = {**SCHEMA, "required": [command]}
        told = {command: told}
    found = [error.message for error in Draft202012Validator(schema).iter_errors(told)]
    if PRINTED[command] is not Config:
        told = told[command]
    adapter = TypeAdapter(PRINTED[command])
    known = adapter.dump_python(adapter.validate_python(told), mode="json", by_alias=True)
    if isinstance(known, dict):
        found += [f"{name} is not documented" for name in told if name not in known]
    return found


def test_every_command_with_json_is_documented() -> None:
    having = set()
    for names in GENERATE["command_names"]():
        command = load_command(names[0])
        command = command.commands[names[1]] if len(names) > 1 else command
        if any("--json" in option.opts for option in command.params):
            having.add(" ".join(names))
    assert having == set(PRINTED)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param("config show", ["experiment=smoke"], id="config-show"),
        pytest.param("config explain", ["training.learning_rate"], id="explain-key"),
        pytest.param("config explain", ["cluster"], id="explain-section"),
        pytest.param("config explain", ["experiment"], id="explain-group"),
        pytest.param("config groups", [], id="groups"),
        pytest.param("data validate", ["dataset=quickstart"], id="data-validate"),
        pytest.param("data stats", ["dataset=quickstart"], id="data-stats"),
        pytest.param("estimate", [*QUICKSTART, "cluster=cpu"], id="estimate"),
        pytest.param("render", [*QUICKSTART, PLACE, "cluster=cpu"], id="render"),
        pytest.param("version", [], id="version"),
    ],
)
def test_what_needs_no_store_prints_what_is_documented(
    ask: Ask, command: str, arguments: list[str]
) -> None:
    assert ask(command, *arguments)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param("resume", [made.RUN_ID], id="a-run-that-is-published"),
        pytest.param("list", [], id="list"),
        pytest.param("status", [made.RUN_ID], id="status"),
        pytest.param("status", [NOT_STARTED], id="status-before-the-first-stage"),
        pytest.param("report", [made.RUN_ID, "-o", "{folder}/report.html"], id="report"),
        pytest.param("compare", [made.RUN_ID, OTHER], id="compare"),
        pytest.param("cancel", [NOT_STARTED], id="cancel"),
        pytest.param("cancel", [made.RUN_ID], id="cancel-a-published-run"),
        pytest.param("data push", ["dataset=quickstart"], id="data-push"),
    ],
)
def test_what_reads_a_store_prints_what_is_documented(
    ask: Ask, tmp_path: Path, command: str, arguments: list[str]
) -> None:
    named = [argument.format(folder=tmp_path) for argument in arguments]
    assert ask(command, *named, f"storage.url={tmp_path / 'store'}")


def test_files_are_told_that_are_fetched_and_that_would_be_removed(
    ask: Ask, tmp_path: Path
) -> None:
    publish(FolderStore(tmp_path / "store"), tmp_path / "made", {"q.gguf": b"GGUF"})
    place = f"storage.url={tmp_path / 'store'}"

    assert ask("download", made.RUN_ID, "-o", str(tmp_path / "out"), place)["files"]
    assert ask("gc", "--store", "--older-than", "0", "--dry-run", place)["store"]


def test_an_error_is_told_in_json_too(ask: Ask, tmp_path: Path) -> None:
    row = '{"instruction": "Capital of France?", "response": "Paris."}\n'
    (tmp_path / "bad.jsonl").write_text(row + row.replace("Paris.", ""))
    assert ask("data validate", str(tmp_path / "bad.jsonl"), exit_code=3)["ok"] is False


def test_rendered_files_are_told(ask: Ask, tmp_path: Path) -> None:
    told = ask("render", *QUICKSTART, PLACE, "cluster=cpu", "-o", str(tmp_path / "out"))
    assert all(Path(file).is_file() for file in told["files"])
