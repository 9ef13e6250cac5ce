"""eval.json: how well held-out rows are answered before training, after it, and once quantized."""

from __future__ import annotations

from pydantic import Field

from ftctl.contract.status import Stored


class Scores(Stored):
    """Rates are shares of `rows`, 0 to 1; None where a measure does not apply to the rows."""

    rows: int
    valid_json: float | None = None
    right_action: float | None = Field(
        None, description="valid JSON whose action equals the answer's"
    )
    exact_match: float | None = Field(
        None, description="text equal to the answer, white space at the ends aside"
    )
    loss: float | None = Field(None, description="nats a label token, teacher-forced")
    perplexity: float | None = Field(None, description="exp(loss)")
    chosen_likelier: float | None = Field(
        None,
        description="share of held-out pairs whose chosen answer is the likelier one (dpo), or the "
        "likelier a token (orpo)",
    )
    preference_accuracy: float | None = Field(
        None, description="share of held-out pairs whose chosen answer gained more by training"
    )
    reward_margin: float | None = Field(
        None,
        description="beta times nats: mean gain of chosen over rejected answers (dpo), gain of "
        "good and loss of bad answers (kto)",
    )
    moved_right: float | None = Field(
        None,
        description="share of held-out answers that moved the right way by training: good ones "
        "gained, bad ones lost (kto)",
    )
    reward: float | None = Field(
        None, description="mean reward of the likeliest answers to held-out prompts (grpo)"
    )
    groups: dict[str, Scores] = Field(
        default_factory=dict, description="the same by script of the request: Latin, Cyrillic, ..."
    )


class Baselines(Stored):
    """What can be had without a model."""

    majority_action: str | None = Field(
        None, description="most frequent right action of the training rows"
    )
    majority: float | None = None
    keyword: float | None = Field(
        None, description="action that shares most word stems with the request"
    )
    majority_groups: dict[str, float] = Field(default_factory=dict)
    keyword_groups: dict[str, float] = Field(default_factory=dict)


class Overlap(Stored):
    """How many held-out prompts stand in the training rows, case and punctuation aside."""

    rows: int
    same_request: int
    same_prompt: int


class Sample(Stored):
    """One held-out row and what each model said to it."""

    id: str
    request: str
    expected: str
    before: str | None = None
    after: str | None = None
    quantized: dict[str, str] = Field(default_factory=dict)


class BaseEvaluation(Stored):
    """What every run over the same base and the same rows would find before it trains."""

    scores: Scores
    answers: list[str] = Field(description="in the order of the rows; empty where none were asked")


class Evaluation(Stored):
    """eval.json. The train stage writes it; the convert stage adds `quantized`."""

    before: Scores | None = None
    after: Scores | None = None
    quantized: dict[str, Scores] = Field(default_factory=dict, description="by quantization type")
    baselines: Baselines = Baselines()
    overlap: Overlap | None = None
    samples: list[Sample] = Field(default_factory=list)
    answer_tokens: int | None = Field(None, description="tokens that an answer was allowed")
