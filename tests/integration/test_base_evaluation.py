"""Two runs over one base and the same rows: the second takes the base's numbers of the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import BaseEvaluation, Evaluation, Scores
from ftctl.contract.layout import EVALUATIONS
from ftctl.storage.folder import FolderStore
from ftctl_trainer.base_evaluation import read_base
from tests.integration.tiny_model import make_tiny_model
from tests.integration.tiny_run import TinyRun

SHORT: dict[str, dict[str, Any]] = {"training": {"max_steps": 2, "save_steps": 2, "eval_steps": 2}}
OTHER = {"training": {**SHORT["training"], "learning_rate": 0.001}}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run that found nothing in its store, and has trained."""
    folder = tmp_path_factory.mktemp("shared")
    run = TinyRun(folder, make_tiny_model(folder / "model"), SHORT).write()
    code, lines = run.train_now()
    assert code == 0, lines
    assert "evaluating before training" in _phases(lines)
    return run


def _phases(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


def _evaluation(run: TinyRun) -> Evaluation:
    return Evaluation.model_validate_json(run.read("eval.json"))


def _second(first: TinyRun, run_id: str) -> tuple[TinyRun, list[str]]:
    run = replace(first, settings=OTHER, run_id=run_id).write()
    code, lines = run.train_now()
    assert code == 0, lines
    return run, _phases(lines)


def test_the_second_run_does_not_measure_the_base_again(first: TinyRun) -> None:
    run, said = _second(first, "tiny-second000000")

    assert "evaluating before training" not in said
    assert any(line.startswith("before (another run's measurement): loss") for line in said)
    of_first, of_second = _evaluation(first), _evaluation(run)
    assert of_second.before == of_first.before
    assert [s.before for s in of_second.samples] == [s.before for s in of_first.samples]
    assert of_second.after is not None
    assert of_second.after != of_first.after


def test_it_trains_as_it_would_have_alone(first: TinyRun, tmp_path: Path) -> None:
    run, _ = _second(first, "tiny-third0000000")
    alone = TinyRun(tmp_path, first.model, OTHER).write()
    code, lines = alone.train_now()

    assert code == 0, lines
    adapter = "adapter/adapter_model.safetensors"
    assert run.read(adapter) == alone.read(adapter)
    assert _evaluation(run).before == _evaluation(alone).before


def test_damaged_numbers_are_measured_again_and_mended(first: TinyRun) -> None:
    [item] = first.store.list(EVALUATIONS)
    whole = first.store.read(item.key)
    first.store.write(item.key, whole[: len(whole) // 2])

    _, said = _second(first, "tiny-fourth000000")

    assert any("is damaged: the base is evaluated again" in line for line in said)
    assert "evaluating before training" in said
    assert first.store.read(item.key) == whole


@pytest.mark.parametrize(
    ("rows", "answers", "taken"),
    [(2, 2, True), (2, 0, True), (3, 3, False), (2, 1, False)],
    ids=["whole", "none-asked", "of-other-rows", "answers-missing"],
)
def test_numbers_of_other_rows_are_not_taken(
    rows: int, answers: int, taken: bool, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    found = BaseEvaluation(scores=Scores(rows=rows), answers=["x"] * answers)
    store.write("key.json", found.model_dump_json().encode())

    assert read_base(store, "key.json", 2) == (found if taken else None)
