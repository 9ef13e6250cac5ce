"""GRPO through the train stage: a real model, its own answers, a reward of one's own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ftctl.contract.evaluation import Evaluation
from tests.integration.method_runs import grpo_run
from tests.integration.tiny_run import TinyRun

ADAPTER = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run trained to its end without a break."""
    return grpo_run(tmp_path_factory.mktemp("finished"), model).trained()


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
    run = grpo_run(tmp_path, model)
    assert run.interrupt_at(8, signal.SIGKILL)[0] == -signal.SIGKILL
    run.expire_lease()
    code, lines = run.train_now()
    assert code == 0, lines
    [resumed] = [line for line in run.lines("events.jsonl") if line["kind"] == "resumed"]
    assert resumed["data"]["step"] in (8, 12)
    assert run.read(ADAPTER) == finished.read(ADAPTER)
    assert run.metrics() == finished.metrics()


def test_a_reward_that_raises_ends_the_run_in_words(model: Path, tmp_path: Path) -> None:
    run = grpo_run(tmp_path, model, reward="def vowels(answer, row):\n    return 1 / 0\n")
    code, lines = run.train_now()
    assert code == 3, lines
    message = "rewards.py:2: the reward 'vowels' fails on row row-24: ZeroDivisionError"
    assert message in lines[-1]["message"]
