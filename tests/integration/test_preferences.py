"""DPO, ORPO and KTO through the train stage: a real model, a real store, a real kill."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import Evaluation
from tests.integration.method_runs import preference_run, preferences
from tests.integration.tiny_model import action_rows
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
# Of two epochs; KTO takes both answers of 12 pairs, the others 24 pairs.
STEPS = 12


@pytest.fixture(scope="module", params=["dpo", "orpo", "kto"])
def method(request: pytest.FixtureRequest) -> str:
    """The method that is looked at."""
    return str(request.param)


@pytest.fixture(scope="module")
def finished(method: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run trained to its end without a break."""
    return preference_run(tmp_path_factory.mktemp("finished"), model, method).trained()


def test_the_better_answers_gain_on_held_out_rows(method: str, finished: TinyRun) -> None:
    lines = finished.metrics()
    losses = [line["loss"] for line in lines if "loss" in line]
    # Nothing is preferred yet: ln 2; the answer's likelihood and a tenth of ln 2; a half.
    first = {"dpo": 0.6931, "orpo": 6.0, "kto": 0.5}[method]
    assert losses[0] == pytest.approx(first, rel=0.08)
    assert losses[-1] < 0.9 * losses[0]
    assert [line["step"] for line in lines if "eval_loss" in line] == [6, STEPS]
    last = lines[-1]
    assert last["eval_loss"] < losses[0]
    won = "eval_moved_right" if method == "kto" else "eval_preference_accuracy"
    assert last[won] >= 0.75
    assert last["eval_reward_margin"] > 0
    assert {"reward_margin", "loss", "lr", "real_tokens"} <= set(lines[0])
    assert ("kl" in lines[0]) == (method == "kto")
    assert ("preference_accuracy" in lines[0]) == (method != "kto")


def test_both_evaluations_say_what_the_held_out_rows_show(method: str, finished: TinyRun) -> None:
    evaluation = Evaluation.model_validate_json(finished.read("eval.json"))
    before, after = evaluation.before, evaluation.after
    assert before is not None
    assert after is not None
    assert (before.rows, after.rows) == (4, 4)  # of KTO's, the good ones
    assert before.preference_accuracy is before.moved_right is None
    last = finished.metrics()[-1]
    if method != "orpo":  # has no reference that an answer could gain from
        assert after.preference_accuracy == last.get("eval_preference_accuracy")
        assert after.moved_right == last.get("eval_moved_right")
        assert after.reward_margin == last["eval_reward_margin"]
    if method != "kto":  # has no pairs
        assert before.chosen_likelier is not None
        assert after.chosen_likelier is not None
        assert after.chosen_likelier >= before.chosen_likelier


def test_what_is_handed_over_is_one_adapter(finished: TinyRun) -> None:
    from safetensors.torch import load

    weights = load(finished.read(ADAPTER))
    assert not [name for name in weights if ".ref." in name]
    assert {str(weight.dtype) for weight in weights.values()} == {"torch.float32"}
    marker = json.loads(finished.read("adapter/_COMPLETE"))
    assert not [file for file in marker["files"] if "/" in file["name"]]


def test_a_killed_run_goes_on_to_the_same_bytes(
    method: str, finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = preference_run(tmp_path, model, method)
    # The second epoch has an order of its own.
    assert run.interrupt_at(8, signal.SIGKILL)[0] == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    assert [line["kind"] for line in run.lines("events.jsonl")].count("resumed") == 1
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()


@pytest.mark.parametrize(
    ("asked", "rows", "message"),
    [
        pytest.param(
            "dpo",
            action_rows(3),
            "3 rows have no chosen and rejected answer\n  row-0\n",
            id="pairs",
        ),
        pytest.param("kto", action_rows(3), "3 rows have no label\n  row-0\n", id="labels"),
        pytest.param(
            "kto",
            [{**row, "label": True} for row in action_rows(3)],
            "all 3 answers are good\n",
            id="one-kind",
        ),
    ],
)
def test_rows_that_the_method_cannot_use_are_refused(
    asked: str, rows: list[dict[str, Any]], message: str, model: Path, tmp_path: Path
) -> None:
    run = TinyRun(tmp_path, model, preferences(asked), train=rows, held_out=[]).write()
    code, lines = run.train_now()
    assert code == 3
    assert message in lines[-1]["message"]
