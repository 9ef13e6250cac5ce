"""What every tracker is told of a run, under the same names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Metrics, now

_SERIES = {
    "loss": "train/loss",
    "lr": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "epoch": "train/epoch",
    "real_tokens": "train/real_tokens",
    "real_tokens_per_s": "train/real_tokens_per_s",
    "step_s": "train/step_s",
    "peak_memory_gib": "train/peak_memory_gib",
    "preference_accuracy": "train/preference_accuracy",
    "reward_margin": "train/reward_margin",
    "reward": "train/reward",
    "kl": "train/kl",
    "completion_tokens": "train/completion_tokens",
    "eval_loss": "eval/loss",
    "eval_preference_accuracy": "eval/preference_accuracy",
    "eval_reward_margin": "eval/reward_margin",
    "eval_moved_right": "eval/moved_right",
    "eval_reward": "eval/reward",
}
# Where a run runs and is reported is no parameter of it.
_OPERATIONAL = ("cluster", "storage", "tracking", "paths", "other")


@dataclass(frozen=True)
class Point:
    """One value of one series."""

    name: str
    step: int
    value: float
    time: datetime


def points(lines: Sequence[Metrics]) -> list[Point]:
    """The series of metrics.jsonl; the epoch stands with the training loss alone."""
    return [point for line in lines for point in _points(line)]


def evaluation_points(evaluation: Evaluation | None, last_step: int) -> list[Point]:
    """The held-out answers' scores: before training at step 0, after it at the last step."""
    if evaluation is None:
        return []
    found: list[Point] = []
    for scores, step in ((evaluation.before, 0), (evaluation.after, last_step)):
        if scores is not None:
            found += _scores(scores, step)
    return found


def parameters(run: RunFile) -> dict[str, str]:
    """The settings that decide the result, by their paths: `training.learning_rate`."""
    settings = run.config.model_dump(mode="json", exclude=set(_OPERATIONAL))
    return {name: str(value) for name, value in _leaves(settings) if value not in (None, [], {})}


def lineage(run: RunFile) -> dict[str, str]:
    """What a run was made from."""
    return {
        "ftctl.run": run.run_id,
        "ftctl.content_hash": run.content_hash,
        "ftctl.model": run.model.name,
        "ftctl.model_revision": run.model.revision,
        "ftctl.data": run.data.digest,
        "ftctl.store": f"{run.config.storage.url}/runs/{run.run_id}",
    }


def _points(line: Metrics) -> Iterator[Point]:
    values = line.model_dump(exclude_none=True)
    held_out = {key: value for key, value in values.items() if key.startswith("eval_")}
    values = held_out or values
    moment = line.time or now()
    for key, name in _SERIES.items():
        if key in values:
            yield Point(name, line.step, float(values[key]), moment)


def _scores(scores: Scores, step: int) -> Iterator[Point]:
    # The loss of these rows is another than that of the evaluation during training.
    for key in ("right_action", "valid_json", "exact_match", "perplexity", "chosen_likelier"):
        value = getattr(scores, key)
        if value is not None:
            yield Point(f"eval/{key}", step, float(value), now())


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
