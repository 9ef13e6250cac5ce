"""Runs of the tiny model by each method: the rows and settings from which it learns something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftctl.data.example import Example
from ftctl.data.single import single_answers
from tests.integration.tiny_model import action_rows
from tests.integration.tiny_run import TinyRun

# Dropout draws random numbers in every step: a resume must go on with the right ones.
DROPOUT: dict[str, dict[str, Any]] = {"model": {"lora_dropout": 0.2}}
# What a model of random weights can learn in a few steps: to write vowels.
REWARD = """
def vowels(answer, row):
    assert row["prompt"]["user_input"]
    return sum(letter in "aeiou" for letter in answer.lower()) / 8
"""
_GRPO: dict[str, dict[str, Any]] = {
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


def method_run(root: Path, model: Path, method: str, *, logging_steps: int) -> TinyRun:
    """A run of 12 steps, in two epochs where the method is not `sft`."""
    if method == "sft":
        run = TinyRun(root, model, DROPOUT)
    elif method == "grpo":
        run = grpo_run(root, model)
    else:
        run = preference_run(root, model, method)
    training = {**run.settings.get("training", {}), "logging_steps": logging_steps}
    run.settings = {**run.settings, "training": training}
    return run.write()


def grpo_run(root: Path, model: Path, reward: str = REWARD) -> TinyRun:
    """Twelve requests, answered eight times each."""
    return TinyRun(
        root,
        model,
        _GRPO,
        train=list(action_rows(12)),
        held_out=list(action_rows(4, first=24)),
        reward_files={"rewards.py": reward},
    ).write()


def preference_run(root: Path, model: Path, method: str) -> TinyRun:
    """24 pairs; KTO takes both answers of 12."""
    train, held_out = pairs(24), pairs(4, first=24)
    if method == "kto":
        train, held_out = _single(train[:12]), _single(held_out)
    return TinyRun(root, model, preferences(method), train=train, held_out=held_out).write()


def preferences(method: str) -> dict[str, dict[str, Any]]:
    """Settings of a run of two epochs."""
    return {
        "model": {"lora_dropout": 0.1},
        "training": {
            "method": method,
            "max_steps": -1,
            "num_train_epochs": 2,
            "group_by_length": method == "orpo",
        },
        "testing": {"test": False},
    }


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


def _single(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answers = single_answers([Example.model_validate(row) for row in rows])
    return [answer.model_dump(exclude_defaults=True) for answer in answers]
