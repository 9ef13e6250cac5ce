"""GRPO through the train stage: a real model, its own answers, a reward of one's own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.evaluation import Evaluation
from tests.integration.tiny_model import action_rows, make_tiny_model
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"
# What a model of random weights can learn in a few steps: to write vowels.
REWARD = """
def vowels(answer, row):
    assert row["prompt"]["user_input"]
    return sum(letter in "aeiou" for letter in answer.lower()) / 8
"""
SETTINGS: dict[str, dict[str, Any]] = {
    "model": {"lora_dropout": 0.1},
    "training": {
        "method": "grpo",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "max_steps": -1,
        "num_train_epochs": 2,
        "learning_rate": 0.05,
    },
    "grpo": {
        "rewards": ["rewards.py:vowels"],
        "num_generations": 8,
        "max_completion_length": 8,
        "beta": 0.01,
    },
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


def test_the_reward_rises_and_every_line_has_it(finished: TinyRun) -> None:
    lines = [line for line in finished.metrics() if "reward" in line]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "kl", "completion_tokens", "real_tokens", "lr"} <= set(lines[0])
    looks = [line for line in finished.metrics() if "eval_reward" in line]
    assert [line["step"] for line in looks] == [6, 12]
    evaluation = Evaluation.model_validate_json(finished.read("eval.json"))
    assert evaluation.before is not None
    assert evaluation.after is not None
    assert evaluation.after.reward == looks[-1]["eval_reward"]
    assert evaluation.before.reward is not None
    assert looks[-1]["eval_reward"] > evaluation.before.reward


def test_a_run_killed_in_its_second_epoch_goes_on_to_the_same_bytes(
    finished: TinyRun, model: Path, tmp_path: Path
) -> None:
    run = _run(tmp_path, model)
    assert run.interrupt_at(8, signal.SIGKILL)[0] == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    [resumed] = [line for line in run.lines("events.jsonl") if line["kind"] == "resumed"]
    assert resumed["data"]["step"] in (8, 12)
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()


def test_a_reward_that_raises_ends_the_run_in_words(model: Path, tmp_path: Path) -> None:
    run = _run(tmp_path, model, reward="def vowels(answer, row):\n    return 1 / 0\n")
    code, lines = run.train_now()
    assert code == 3, lines
    message = "rewards.py:2: the reward 'vowels' fails on row row-24: ZeroDivisionError"
    assert message in lines[-1]["message"]


def _run(root: Path, model: Path, reward: str = REWARD) -> TinyRun:
    return TinyRun(
        root,
        model,
        SETTINGS,
        train=list(action_rows(12)),
        held_out=list(action_rows(4, first=24)),
        reward_files={"rewards.py": reward},
    ).write()
