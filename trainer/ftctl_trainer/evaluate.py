"""Scores a model on the held-out rows: what it answers, and how likely the right answer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ftctl.contract.evaluation import Evaluation, Sample, Scores
from ftctl.data.baselines import baselines, overlap
from ftctl.data.example import Example
from ftctl.data.parts import answer_text, request_of
from ftctl.data.scoring import score_rows
from ftctl_trainer.data.chat import IGNORED, ChatFormat
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.data.template import prompt_messages
from ftctl_trainer.generate import greedy_answers, stop_token_ids
from ftctl_trainer.model.labels import mean_label_loss
from ftctl_trainer.rows import RunRows

# Logits of whole answers are large: 8 rows of 40 labels and 50,000 tokens are 64 MB.
_LOSS_BATCH = 8


@dataclass(frozen=True)
class Answering:
    """How answers are generated; `generates` false leaves only the loss."""

    generates: bool
    max_new_tokens: int
    batch_size: int


def empty_evaluation(
    rows: RunRows, always_allowed: Sequence[str], max_new_tokens: int | None
) -> Evaluation:
    """
    What can be said without a model: baselines, overlap, and the samples to be answered.

    Args:
        max_new_tokens: testing.max_new_tokens.
    """
    return Evaluation(
        answer_tokens=max_new_tokens or _room_for(rows.test_tokens.labels),
        baselines=baselines(rows.train, rows.test, always_allowed),
        overlap=overlap(rows.train, rows.test),
        samples=[_sample(row) for row in rows.test],
    )


def evaluate_model(
    model: Any,
    tokenizer: Any,
    rows: RunRows,
    answering: Answering,
    *,
    on_batch: Callable[[], None],
) -> tuple[Scores, list[str]]:
    """Return the scores on the test rows, and the answers in their order (empty: not asked)."""
    loss = mean_label_loss(
        model,
        [rows.test_tokens[index] for index in range(len(rows.test_tokens))],
        Collator(tokenizer.pad_token_id),
        batch_size=min(answering.batch_size, _LOSS_BATCH),
        on_batch=on_batch,
    )
    answers = _answers(model, tokenizer, rows, answering, on_batch) if answering.generates else []
    scores = score_rows(answers, rows.test) if answers else Scores(rows=len(rows.test))
    known = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
    return scores.model_copy(update=known), answers


def with_answers(
    evaluation: Evaluation, when: Literal["before", "after"], scores: Scores, answers: list[str]
) -> Evaluation:
    """Add what a model scored and said."""
    samples = evaluation.samples
    if answers:
        samples = [
            sample.model_copy(update={when: answer})
            for sample, answer in zip(samples, answers, strict=True)
        ]
    return evaluation.model_copy(update={when: scores, "samples": samples})


def _answers(
    model: Any,
    tokenizer: Any,
    rows: RunRows,
    answering: Answering,
    on_batch: Callable[[], None],
) -> list[str]:
    chat = ChatFormat(tokenizer)
    tokens = greedy_answers(
        model,
        [chat.prompt_ids(prompt_messages(row, rows.template)) for row in rows.test],
        max_new_tokens=answering.max_new_tokens,
        batch_size=answering.batch_size,
        stop_ids=stop_token_ids(model, tokenizer, rows.train_tokens.labels),
        pad_id=tokenizer.pad_token_id,
        on_batch=on_batch,
    )
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in tokens]


def _room_for(labels: Sequence[Sequence[int]]) -> int:
    """Tokens that let every right answer end, and show where one of the model's does not."""
    longest = max((sum(label != IGNORED for label in row) for row in labels), default=0)
    return math.ceil(1.25 * longest) + 4


def _sample(row: Example) -> Sample:
    return Sample(id=row.id, request=request_of(row), expected=answer_text(row))
