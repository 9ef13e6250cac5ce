"""`ftctl data` as users see it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftctl.commands.data import app
from ftctl.errors import DataError

GOOD = [
    {
        "prompt": {"AvailableActions": ["Open"], "UserInput": "open"},
        "answer": {"Content": {"Action": "Open"}},
    },
    {
        "prompt": {"AvailableActions": ["Open"], "UserInput": "привет"},
        "answer": {"Content": {"Action": "Talk"}},
    },
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "good set.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text(json.dumps([*GOOD, {"prompt": {"UserInput": "u"}}]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_validate_counts_the_rows_of_a_file_given_by_name(folder: Path) -> None:
    result = CliRunner().invoke(app, ["validate", "good set.json"], catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "train  good set.json: 2 rows, 0 bad (actions)\nok: 2 train\n",
        "",
    )


def test_validate_says_on_stderr_what_was_left_out(folder: Path) -> None:
    arguments = ["validate", "dataset.train=bad.json", "dataset.max_bad=1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.stdout == "train  bad.json: 2 rows, 1 bad (actions)\nok: 2 train\n"
    assert result.stderr == "left out: bad.json:1: bad-3: no answer\n"


def test_validate_prints_one_object(folder: Path) -> None:
    arguments = ["validate", "--json", "bad.json", "dataset.max_bad=1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    problem = {
        "file": "bad.json",
        "number": 1,
        "unit": "line",
        "id": "bad-3",
        "reason": "no answer",
    }
    assert json.loads(result.stdout) == {
        "ok": True,
        "rows": {"train": 2},
        "files": [{"split": "train", "file": "bad.json", "format": "actions", "rows": 2, "bad": 1}],
        "problems": [problem],
    }
    assert result.stderr == ""


def test_validate_fails_and_still_prints_the_problems_as_json(folder: Path) -> None:
    result = CliRunner().invoke(app, ["validate", "--json", "bad.json"])
    assert isinstance(result.exception, DataError) or result.exit_code == DataError.exit_code
    assert json.loads(result.stdout)["ok"] is False
    assert [found["id"] for found in json.loads(result.stdout)["problems"]] == ["bad-3"]


def test_validate_looks_at_the_layout_too(folder: Path) -> None:
    (folder / "mine.jinja").write_text("{{ nothing }}")
    result = CliRunner().invoke(app, ["validate", "good set.json", "dataset.template=mine.jinja"])
    assert "unknown variable 'nothing'" in str(result.exception) + result.stderr


def test_stats_describe_the_rows(folder: Path) -> None:
    result = CliRunner().invoke(app, ["stats", "good set.json"], catch_exceptions=False)
    assert result.stdout == (
        "train: 2 rows, 0 repeated\n"
        "  prompt characters  p50 9, p90 11, p99 11, p100 11\n"
        "  answer characters  p50 31, p90 31, p99 31, p100 31\n"
        "  scripts            Cyrillic 1, Latin 1\n"
        "  actions            Open 1, Talk 1\n"
        "  not available      1 right actions\n"
    )


def test_stats_as_json_have_every_split(folder: Path) -> None:
    arguments = ["stats", "--json", "good set.json", "dataset.eval=good set.json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    described = json.loads(result.stdout)
    assert {name: split["rows"] for name, split in described["splits"].items()} == {
        "train": 2,
        "eval": 2,
    }
    assert described["overlap"] == {"eval": {"rows": 2, "same_request": 2, "same_prompt": 2}}


def test_push_prints_the_digest_that_train_takes(folder: Path) -> None:
    store = f"storage.url={folder}/store"
    pushed = CliRunner().invoke(app, ["push", "good set.json", store], catch_exceptions=False)
    digest = pushed.stdout.strip()
    assert digest.startswith("sha256:")
    assert "2 train rows are in" in pushed.stderr
    again = CliRunner().invoke(
        app, ["push", "--json", f"dataset.train={digest}", store], catch_exceptions=False
    )
    assert json.loads(again.stdout)["digest"] == digest.removeprefix("sha256:")
