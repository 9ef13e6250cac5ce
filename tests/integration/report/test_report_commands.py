"""`ftctl report`, `list` and `status` over a folder store, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.contract.status import now
from ftctl.storage.folder import FolderStore
from tests import report_records as made
from tests.report_stores import LAYOUT, put_index, put_run

Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    put_run(store)
    return store


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder, over the store."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*args: str) -> Result:
        return CliRunner().invoke(app, [*args, f"storage.url={tmp_path / 'store'}"])

    return call


@pytest.mark.usefixtures("store")
class TestReport:
    def test_writes_the_page_and_prints_its_path(self, run: Run) -> None:
        done = run("report", "quick")
        assert (done.exit_code, done.stdout, done.stderr) == (0, f"{made.RUN_ID}.html\n", "")
        page = Path(f"{made.RUN_ID}.html").read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        assert page.endswith("</html>\n")
        assert [path.name for path in Path().iterdir()] == [f"{made.RUN_ID}.html"]

    def test_writes_where_it_is_told(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "told.html"
        path.write_text("before")
        done = run("report", made.RUN_ID, "-o", str(path))
        assert (done.exit_code, done.stdout) == (0, f"{path}\n")
        assert "Fine-tuning run" in path.read_text(encoding="utf-8")

    def test_prints_the_page(self, run: Run) -> None:
        done = run("report", made.RUN_ID, "-o", "-")
        assert done.exit_code == 0
        assert done.stdout.startswith("<!doctype html>")
        assert list(Path().iterdir()) == []

    def test_writes_in_place_what_is_no_plain_file(self, run: Run) -> None:
        done = run("report", made.RUN_ID, "-o", "/dev/null")
        assert (done.exit_code, done.stdout) == (0, "/dev/null\n")
        assert Path("/dev/null").is_char_device()

    def test_says_in_json_what_it_wrote(self, run: Run) -> None:
        done = run("report", made.RUN_ID, "--json")
        told = json.loads(done.stdout)
        assert told.pop("outcome")[1] == {
            "name": "after",
            "baseline": False,
            "rows": 60,
            "right_action": 0.9,
            "groups": {"Latin": 0.9375, "Cyrillic": 0.75},
            "valid_json": 1.0,
            "exact_match": 0.45,
            "perplexity": 1.324,
            "mean_kl": None,
            "verified": None,
        }
        assert told == {
            "run_id": made.RUN_ID,
            "state": "succeeded",
            "report": f"{made.RUN_ID}.html",
            "problems": [],
        }

    def test_warns_of_a_torn_file(self, run: Run, store: FolderStore) -> None:
        store.write(LAYOUT.verification, b"\xff")
        done = run("report", made.RUN_ID)
        assert done.exit_code == 0
        assert done.stderr == f"warning: {store.url}: verify.json: not UTF-8 at byte 0\n"

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            pytest.param(
                ("report", "quick", "--json", "-o", "-"),
                "error: --json and -o - both want stdout\n"
                "Write the page to a file, or leave out --json.\n",
                id="two-answers-on-stdout",
            ),
            pytest.param(
                ("report", "quick", "-o", "no/such/folder.html"),
                "error: no/such/folder.html: the report cannot be written: "
                "No such file or directory\nName another file with -o.\n",
                id="no-such-folder",
            ),
            pytest.param(
                ("report", "storage.region=x"),
                "error: the run is missing: 'storage.region=x' is an override\n"
                "Write the run id first, then overrides; `ftctl list` shows the ids.\n",
                id="no-run",
            ),
        ],
    )
    def test_refuses(self, run: Run, args: tuple[str, ...], message: str) -> None:
        done = run(*args)
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", message)
        assert list(Path().iterdir()) == []


def test_an_unknown_run_is_answered_with_the_candidates(run: Run, store: FolderStore) -> None:
    done = run("status", "other")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {store.url}: no run 'other'; the newest: {made.RUN_ID}\n"
        "`ftctl list` shows all runs.\n"
    )


class TestList:
    def test_shows_the_newest_first(self, run: Run, store: FolderStore) -> None:
        put_index(store, "bot-0123456789ab", hours=1)
        done = run("list")
        assert (done.exit_code, done.stderr) == (0, "")
        assert [line.split()[:6] for line in done.stdout.splitlines()] == [
            ["run", "state", "stage", "model", "method", "loss"],
            ["bot-0123456789ab", "succeeded", "convert", "SmolLM2-135M-Instruct", "sft", "0.281"],
            [made.RUN_ID, "succeeded", "convert", "SmolLM2-135M-Instruct", "sft", "0.281"],
        ]

    def test_shows_as_many_as_asked_for_in_json(self, run: Run, store: FolderStore) -> None:
        put_index(store, "bot-0123456789ab", hours=1)
        done = run("list", "--limit", "1", "--json")
        assert json.loads(done.stdout) == {
            "runs": [
                {
                    "run_id": "bot-0123456789ab",
                    "name": "bot",
                    "created": "2026-03-01T15:05:09Z",
                    "state": "succeeded",
                    "stage": "convert",
                    "model": "SmolLM2-135M-Instruct",
                    "method": "sft",
                    "loss": 0.2812,
                    "updated": "2026-03-01T15:05:09Z",
                }
            ]
        }

    def test_says_that_a_store_is_empty(self, run: Run, tmp_path: Path) -> None:
        done = run("list")
        url = FolderStore(tmp_path / "store").url
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"no runs in {url}\n")


class TestStatus:
    def test_shows_where_the_run_is(self, run: Run, store: FolderStore) -> None:
        done = run("status", "quick")
        assert done.exit_code == 0
        assert done.stdout.splitlines()[:6] == [
            f"run        {made.RUN_ID}",
            "state      succeeded",
            "stage      convert: published",
            "step       90 of 90 (100%)",
            "loss       0.281",
            "speed      432 tokens/s",
        ]

    def test_prints_one_json_object(self, run: Run, store: FolderStore) -> None:
        told = json.loads(run("status", "quick", "--json").stdout)
        assert (told["state"], told["step"], told["abandoned"]) == ("succeeded", 90, False)
        assert [event["kind"] for event in told["events"]] == [
            *("checkpoint", "resumed", "succeeded", "started", "succeeded"),
        ]

    def test_refuses_to_watch_in_json(self, run: Run, store: FolderStore) -> None:
        done = run("status", "quick", "--watch", "--json")
        assert (done.exit_code, done.stdout, done.stderr) == (
            2,
            "",
            "error: --watch and --json contradict each other\n"
            "Ask for --json as often as you need it.\n",
        )

    def test_watches_until_the_run_ends_and_prints_a_line_a_change(
        self, run: Run, store: FolderStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_running(store)
        naps: list[float] = []

        def nap(seconds: float) -> None:
            """The clock, replaced: the run ends while the command sleeps for the second time."""
            naps.append(seconds)
            if len(naps) == 2:
                store.write(LAYOUT.status, made.status().model_dump_json().encode())

        monkeypatch.setattr("ftctl.commands.status.time.sleep", nap)
        done = run("status", "quick", "--watch")
        assert (done.exit_code, done.stderr, naps) == (0, "", [2.0, 2.0])
        assert done.stdout == (
            "running: train, training, step 45 of 90, loss 0.281, 1 min 40 s left\n"
            "succeeded: convert, published, step 90 of 90, loss 0.281\n"
        )

    def test_draws_the_whole_status_on_a_terminal(self, store: FolderStore) -> None:
        ours, theirs = os.openpty()
        command = ["status", "quick", "--watch", f"storage.url={store.url}"]
        done = subprocess.run(
            [sys.executable, "-m", "ftctl.app", *command],
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
            check=False,
        )
        os.close(theirs)
        shown = os.read(ours, 65_536).decode()
        os.close(ours)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "state      succeeded\r\nstage      convert: published\r\n" in shown


def put_running(store: FolderStore) -> None:
    """Take the run back to the middle of its training."""
    running = made.status().model_copy(
        update={
            "state": "running",
            "stage": "train",
            "phase": "training",
            "step": 45,
            "eta_s": 100.0,
            "heartbeat": now(),
        }
    )
    store.delete(LAYOUT.success)
    store.delete(LAYOUT.manifest)
    store.write(LAYOUT.status, running.model_dump_json().encode())
