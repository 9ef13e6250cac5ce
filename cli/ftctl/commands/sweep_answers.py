"""What `ftctl sweep --json` prints: a plan, or a sweep as the store has it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftctl.commands.answer import Answer
from ftctl.contract.status import State
from ftctl.estimate.facts import Estimate


class SweptRun(Answer):
    """A run of a sweep."""

    run_id: str
    values: dict[str, str] = Field(description="swept key to its value, as an override has it")


class SweepPlanAnswer(Answer):
    """A sweep that was launched, or with --dry-run would be."""

    sweep_id: str
    state: Literal["planned", "submitted"]
    place: str | None = Field(description="cluster and namespace; null: this machine")
    by: str = Field(description="the measure that runs are compared by")
    trials: int = Field(description="runs there will be")
    parallel: int = Field(description="runs at once")
    published: int = Field(description="runs that are published already")
    alias: str = Field(description="name that the best run gets")
    runs: list[SweptRun] = Field(description="of a search, those that were chosen so far")
    objects: list[str] = Field(description="kind and name of what is created now")
    notes: list[str] = Field(description="what is worth knowing, a sentence each")
    estimate: Estimate | None = Field(description="of the first run; null on this machine")


class SweepRunAnswer(SweptRun):
    """A run of a sweep, and what came of it; what was not measured is null."""

    state: State
    reason: str | None = Field(description="why it was stopped, or failed")
    step: int | None = Field(description="optimizer steps done")
    loss: float | None = Field(description="held-out loss, nats a label token")
    right_action: float | None = Field(description="share of held-out rows, 0 to 1")
    exact_match: float | None = Field(description="the same")
    reward: float | None = Field(description="mean reward of held-out answers (grpo)")
    best: bool


class SweepAnswer(Answer):
    """A sweep as the store has it."""

    sweep_id: str
    cancelled: bool = Field(description="no more runs are started")
    by: str = Field(description="the measure that runs are compared by")
    stop_bad: bool
    trials: int = Field(description="runs there will be")
    keys: list[str] = Field(description="those that are swept")
    runs: list[SweepRunAnswer] = Field(description="best first")
    best: str | None = Field(description="run id; null while none is published")
    alias: str = Field(description="name of the best run")
    report: str | None = Field(description="page in the store; null before it is written")
