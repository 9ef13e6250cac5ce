"""`ftctl sweep --local`: real training of four children, one of which falls behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.layout import RunLayout, SweepLayout
from ftctl.storage.aliases import read_alias
from ftctl.storage.folder import FolderStore
from ftctl.storage.sweeps import read_sweep
from tests.integration.run.conftest import Finished, Workplace, run_ids
from tests.json_answers import problems

RATE = "training.learning_rate"
# The last learns next to nothing, and is judged by the three before it.
RATES = ("0.005", "0.004", "0.003", "1e-06")
SWEPT = f"{RATE}={','.join(RATES)}"


@dataclass(frozen=True)
class Swept:
    """A sweep that was done."""

    root: Path
    settings: list[str]
    done: Finished
    told: dict[str, Any]

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.root)

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The runs by their learning rate."""
        return {run["values"][RATE]: run for run in self.told["runs"]}


@pytest.fixture(scope="module")
def swept(workplace: Workplace) -> Swept:
    """The sweep, done once for all tests (about a minute)."""
    root = workplace.root / "swept"
    shared = [one for one in workplace.settings if not one.startswith(RATE)]
    settings = [f"storage.url={root}", *shared]
    done = workplace.ftctl("sweep", "--local", "--json", "--stop-bad", *settings, SWEPT)
    assert done.code == 0, done.stderr
    return Swept(root, settings, done, json.loads(done.stdout))


def test_every_combination_is_a_run_and_the_answer_is_as_documented(swept: Swept) -> None:
    assert problems("sweep", swept.told) == []
    assert tuple(swept.runs) == tuple(sorted(RATES, key=_place(swept)))
    assert set(run_ids(swept.root)) == {run["run_id"] for run in swept.told["runs"]}
    assert swept.told["best"] == swept.told["runs"][0]["run_id"]
    assert read_sweep(swept.store, swept.told["sweep_id"]).trials == 4


def test_the_child_that_fell_behind_was_stopped_and_says_so(swept: Swept) -> None:
    bad = swept.runs["1e-06"]

    assert bad["state"] == "cancelled"
    assert f"by the sweep {swept.told['sweep_id']}: at step" in bad["reason"]
    assert "the median of 3 others" in bad["reason"]
    assert swept.store.stat(RunLayout(bad["run_id"]).success) is None
    assert [run["state"] for run in swept.told["runs"] if run is not bad] == ["succeeded"] * 3


def test_children_are_the_runs_that_run_makes(workplace: Workplace, swept: Swept) -> None:
    for rate in ("0.004", "0.005"):
        again = workplace.ftctl("run", *swept.settings, f"{RATE}={rate}")

        assert again.code == 0, again.stderr
        assert f"{swept.runs[rate]['run_id']} is published already." in again.stderr


def test_the_same_sweep_again_repeats_nothing(workplace: Workplace, swept: Swept) -> None:
    events = {run_id: _events(swept, run_id) for run_id in run_ids(swept.root)}
    reordered = f"{RATE}={','.join(reversed(RATES))}"

    again = workplace.ftctl("sweep", "--local", "--json", "--stop-bad", *swept.settings, reordered)

    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["sweep_id"] == swept.told["sweep_id"]
    assert json.loads(again.stdout)["best"] == swept.told["best"]
    assert {run_id: _events(swept, run_id) for run_id in run_ids(swept.root)} == events


def test_the_best_has_a_name_that_commands_take(workplace: Workplace, swept: Swept) -> None:
    store = f"storage.url={swept.root}"
    alias = read_alias(swept.store, swept.told["alias"])
    assert alias is not None
    assert alias.run_id == swept.told["best"]

    status = workplace.ftctl("status", swept.told["alias"], "--json", store)
    assert json.loads(status.stdout)["run_id"] == swept.told["best"]
    fetched = workplace.ftctl("download", swept.told["alias"], "-o", "best", store)
    assert fetched.code == 0, fetched.stderr
    assert (workplace.root / "best" / "tiny-Q8_0.gguf").is_file()
    assert workplace.ftctl("report", swept.told["alias"], "-o", "best.html", store).code == 0


def test_it_is_shown_from_anywhere_by_the_beginning_of_its_id(
    workplace: Workplace, swept: Swept
) -> None:
    page = workplace.root / "sweep.html"

    shown = workplace.ftctl("sweep", "tiny-sweep", f"storage.url={swept.root}", "-o", str(page))

    assert shown.code == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:2] == ["run", "learning_rate"]
    assert lines[1].startswith(f"* {swept.told['best']}")
    assert "3 succeeded, 1 cancelled" in lines
    assert page.read_bytes() == swept.store.read(SweepLayout(swept.told["sweep_id"]).report)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cluster.gpus=1,2"], 3, "are the same run"),
        ([f"{RATE}=1e-3,7"], 3, "7"),
        (["training.seed=range(0,5000)"], 2, "5,000 combinations are more than 1,000"),
        (["testing.output_test_file=answers.json", "training.seed=1,2"], 3, "would write there"),
        (["dataset.eval=null", "training.seed=1,2"], 3, "there are no held-out rows"),
        (["--from-here", "training.seed=1,2"], 2, "contradict each other"),
        (["--by", "beauty", "training.seed=1,2"], 2, "allowed: loss, right_action"),
        (["--cancel", "training.seed=1,2"], 2, "which sweep is to be stopped?"),
        (["no-such-sweep"], 2, "no sweep 'no-such-sweep'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    workplace: Workplace, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    settings = [one for one in workplace.settings if not one.startswith(RATE)]

    done = workplace.ftctl(
        "sweep", "--local", f"storage.url={tmp_path / 'none'}", *settings, *arguments
    )

    assert (done.code, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "none" / "runs").exists()


def test_a_plan_creates_nothing(workplace: Workplace, tmp_path: Path) -> None:
    settings = [f"storage.url={tmp_path / 'none'}", *workplace.settings]

    done = workplace.ftctl("sweep", "--local", "--dry-run", "--json", *settings, "model.lora_r=4,8")

    assert problems("sweep", json.loads(done.stdout)) == []
    assert (json.loads(done.stdout)["trials"], json.loads(done.stdout)["published"]) == (2, 0)
    assert not (tmp_path / "none").exists()


def test_a_group_is_swept_by_its_choices(workplace: Workplace, tmp_path: Path) -> None:
    settings = [f"storage.url={tmp_path / 'none'}", *workplace.settings]

    done = workplace.ftctl("sweep", "--local", "--dry-run", "--json", *settings, "dataset=glob(*)")

    assert done.code == 0, done.stderr
    assert [run["values"] for run in json.loads(done.stdout)["runs"]] == [
        {"dataset": "default"},
        {"dataset": "quickstart"},
    ]


def _place(swept: Swept) -> Any:
    return lambda rate: swept.runs[rate]["loss"]


def _events(swept: Swept, run_id: str) -> bytes:
    return swept.store.read(RunLayout(run_id).events)
