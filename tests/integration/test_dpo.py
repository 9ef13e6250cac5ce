"""DPO through the train stage: a real model, a real store, a real kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import Evaluation
from tests.integration.tiny_model import action_rows, make_tiny_model
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"lora_dropout": 0.1},
    "training": {"method": "dpo", "max_steps": -1, "num_train_epochs": 2},
    "testing": {"test": False},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model."""
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run trained to its end without a break."""
    run = _run(tmp_path_factory.mktemp("finished"), model)
    code, lines = run.train_now()
    assert code == 0, lines
    return run


def test_the_better_answers_gain_on_held_outpairs(finished: TinyRun) -> None:
    lines = finished.metrics()
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] == pytest.approx(0.6931, abs=0.05)  # ln 2: nothing is preferred yet
    assert losses[-1] < 0.6
    assert [line["step"] for line in lines if "eval_loss" in line] == [6, 12]
    last = lines[-1]
    assert last["eval_preference_accuracy"] >= 0.75
    assert last["eval_reward_margin"] > 0
    evaluation = Evaluation.model_validate_json(finished.read("eval.json"))
    assert evaluation.before is not None
    assert evaluation.after is not None
    assert evaluation.before.preference_accuracy is None
    assert evaluation.after.preference_accuracy == last["eval_preference_accuracy"]
    assert evaluation.after.chosen_likelier is not None
    assert evaluation.before.chosen_likelier is not None
    assert evaluation.after.chosen_likelier >= evaluation.before.chosen_likelier


def test_what_is_handed_over_is_one_adapter(finished: TinyRun) -> None:
    from safetensors.torch import load

    weights = load(finished.read(ADAPTER))
    assert not [name for name in weights if ".ref." in name]
    assert {str(weight.dtype) for weight in weights.values()} == {"torch.float32"}
    marker = json.loads(finished.read("adapter/_COMPLETE"))
    assert not [file for file in marker["files"] if "/" in file["name"]]


def test_a_killed_run_goes_on_to_the_same_bytes(
    finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = _run(tmp_path, model)
    assert run.interrupt_at(4, signal.SIGKILL)[0] == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    assert [line["kind"] for line in run.lines("events.jsonl")].count("resumed") == 1
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()


def test_rows_without_a_rejected_answer_are_refused(model: Path, tmp_path: Path) -> None:
    rows = list(action_rows(3))
    run = TinyRun(tmp_path, model, SETTINGS, train=rows, held_out=[]).write()
    code, lines = run.train_now()
    assert code == 3
    assert "3 rows have no chosen and rejected answer\n  row-0\n" in lines[-1]["message"]


def _run(root: Path, model: Path) -> TinyRun:
    return TinyRun(root, model, SETTINGS, train=pairs(24), held_out=pairs(4, first=24)).write()


def pairs(count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Polite answers are preferred to curt ones."""
    return [
        {
            "id": row["id"],
            "messages": [{"role": "user", "content": row["prompt"]["user_input"]}],  # type: ignore[index]
            "chosen": "Certainly, it is done.",
            "rejected": "No!",
        }
        for row in action_rows(count, first=first)
    ]
