"""What a run says of itself: status.json, events.jsonl, metrics.jsonl and its index record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["train", "convert"]
State = Literal["pending", "running", "stopped", "failed", "cancelled", "succeeded"]


def now() -> datetime:
    """The time in UTC, to the millisecond, as everything stored has it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Stored(BaseModel):
    """What we wrote is read with unknown fields ignored: an older version reads a newer run."""

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="null")


class Status(Stored):
    """Where a run is. Written every 10 s; an old heartbeat means that nobody works on it."""

    run_id: str
    stage: Stage
    state: State
    phase: str = Field(
        description="what the stage is doing, in a few words: loading model, training, ..."
    )
    step: int = Field(0, description="optimizer steps done")
    total_steps: int = 0
    loss: float | None = Field(
        None, description="training loss of the last logged step, nats a label token"
    )
    real_tokens_per_s: float | None = Field(None, description="tokens without padding, a second")
    eta_s: float | None = Field(None, description="seconds until the training steps are done")
    heartbeat: datetime
    holder: str = ""
    fence: int = 0
    error: str | None = None


class Event(Stored):
    """Something that happened once, with its time."""

    time: datetime
    stage: Stage
    kind: str = Field(description="started, resumed, checkpoint, stopped, failed, succeeded, ...")
    data: dict[str, Any] = Field(default_factory=dict)


class Metrics(Stored):
    """One logged step. What begins with `eval_` stands only on lines of an evaluation."""

    step: int
    epoch: float
    time: datetime | None = Field(None, description="when it was logged, UTC")
    loss: float | None = Field(
        None,
        description="of the method: nats a label token (sft), nats a pair (dpo, orpo), 0 to 1 an "
        "answer by its weight (kto), GRPO's",
    )
    lr: float | None = None
    grad_norm: float | None = None
    real_tokens: int | None = Field(
        None, description="tokens without padding since the start of the run"
    )
    real_tokens_per_s: float | None = None
    step_s: float | None = Field(None, description="mean seconds a step since the last line")
    peak_memory_gib: float | None = Field(
        None, description="of the GPU (reserved), or of the process on a CPU"
    )
    preference_accuracy: float | None = Field(
        None,
        description="share of pairs whose chosen answer gained more than the rejected (dpo), or is "
        "the likelier a token (orpo)",
    )
    reward_margin: float | None = Field(
        None,
        description="beta times nats: mean gain of chosen over rejected answers (dpo), what they "
        "differ by a token (orpo), gain of good and loss of bad answers (kto)",
    )
    reward: float | None = Field(None, description="mean reward of the answers (grpo)")
    kl: float | None = Field(
        None,
        description="mean distance from the reference, nats: of an answer's tokens (grpo), of "
        "whole answers to other prompts (kto)",
    )
    completion_tokens: float | None = Field(
        None, description="mean length of the answers, in tokens (grpo)"
    )
    eval_loss: float | None = None
    eval_reward: float | None = None
    eval_preference_accuracy: float | None = None
    eval_reward_margin: float | None = None
    eval_moved_right: float | None = None


class IndexRecord(Stored):
    """What a list shows of a run, rewritten at each change of state."""

    run_id: str
    name: str
    created: datetime
    state: State
    stage: Stage
    model: str
    method: str
    loss: float | None = None
    updated: datetime


class LogLine(Stored):
    """One line a stage prints on stdout in a pod; `ftctl run` and `ftctl logs` read them back."""

    time: datetime
    level: str
    logger: str
    message: str
    traceback: str | None = None
    status: Status | None = None
    metrics: Metrics | None = None
