"""Options of a training that change where it ends, or what is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.spec import Config
from ftctl_trainer.evaluation_file import answer_tokens
from ftctl_trainer.model.load import load_tokenizer
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"


def test_training_that_gains_nothing_ends_early_and_stays_ended(
    model: Path, tmp_path: Path
) -> None:
    settings: dict[str, dict[str, Any]] = {
        "dataset": {"eval_fraction": 0.1},
        # Too little to change a loss at all.
        "training": {
            "learning_rate": 1e-12,
            "eval_steps": 2,
            "early_stopping": 2,
            "gradient_checkpointing": "offload",
        },
        "testing": {"test": False},
    }
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()
    assert code == 0, lines
    assert any("stopping early: the last 2 looks" in line["message"] for line in lines)
    planned = "all activations are computed again"
    assert sum(planned in line["message"] for line in lines) == 1
    assert [line["step"] for line in run.metrics() if "eval_loss" in line] == [2, 4, 6]

    adapter = run.read(ADAPTER)
    run.store.delete(f"{run.layout.adapter}_COMPLETE")
    run.store.delete(f"{run.layout.reference}_COMPLETE")
    code, lines = run.train_now()
    assert code == 0, lines
    assert run.read(ADAPTER) == adapter
    assert [line["step"] for line in run.metrics() if "eval_loss" in line] == [2, 4, 6]
    # Memory is not shared out, nor taken, for what is not trained.
    assert not any(planned in line["message"] for line in lines)


def test_lora_variants_learn_and_are_written_down(model: Path, tmp_path: Path) -> None:
    settings: dict[str, dict[str, Any]] = {
        "model": {"use_dora": True, "use_rslora": True},
        "training": {"loraplus_ratio": 4.0, "learning_rate": 2e-3},
    }
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()
    assert code == 0, lines
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0] - 0.3
    config = json.loads(run.read("adapter/adapter_config.json"))
    assert (config["use_dora"], config["use_rslora"]) == (True, True)


def test_answers_may_be_a_quarter_longer_than_the_longest_right_one(
    model: Path, tmp_path: Path
) -> None:
    """A model of random weights goes on until it is stopped: its answers show the limit."""
    settings: dict[str, dict[str, Any]] = {
        "training": {"max_steps": 1, "learning_rate": 1e-12},
        "testing": {"max_new_tokens": None},
    }
    run = TinyRun(tmp_path, model, settings).write()
    code, lines = run.train_now()
    assert code == 0, lines
    evaluation, tokenizer = _evaluation(run), load_tokenizer(model)
    longest = max(
        len(tokenizer(sample.expected + "<|im_end|>").input_ids) for sample in evaluation.samples
    )
    allowed = evaluation.answer_tokens
    assert allowed == math.ceil(1.25 * longest) + 4
    said = [len(tokenizer(sample.after or "").input_ids) for sample in evaluation.samples]
    assert longest < max(said) <= allowed


@pytest.mark.parametrize(
    ("recorded", "asked", "want"),
    [(41, 16, 41), (None, 16, 16), (None, None, 256)],
    ids=["as-the-train-stage-had-it", "as-asked", "of-a-run-that-does-not-say"],
)
def test_all_answers_of_a_run_have_one_limit(
    recorded: int | None, asked: int | None, want: int
) -> None:
    config = Config.model_validate({"testing": {"max_new_tokens": asked}})
    assert answer_tokens(Evaluation(answer_tokens=recorded), config) == want


def _evaluation(run: TinyRun) -> Evaluation:
    return Evaluation.model_validate_json(run.read("eval.json"))
