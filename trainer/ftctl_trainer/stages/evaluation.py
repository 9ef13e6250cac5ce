"""What the train stage finds out of its model before training and after it."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl_trainer.base_evaluation import base_key, read_base
from ftctl_trainer.context import StageContext
from ftctl_trainer.evaluate import Answering, empty_evaluation, evaluate_model, with_answers
from ftctl_trainer.evaluation_file import answer_tokens, stored_evaluation
from ftctl_trainer.methods.method import Method
from ftctl_trainer.model.dense import dense_copy
from ftctl_trainer.model.precision import Precision
from ftctl_trainer.rows import RunRows
from ftctl_trainer.stop import end_if_stopped

_log = logging.getLogger(__name__)


def known_evaluation(
    ctx: StageContext, rows: RunRows, precision: Precision
) -> tuple[Evaluation, str | None]:
    """What this run or another one of the same base has found before; the key of the base's."""
    import torch

    config = ctx.run.config
    found = stored_evaluation(ctx.store, ctx.layout) or empty_evaluation(
        rows, config.dataset.always_allowed_actions, config.testing.max_new_tokens
    )
    key = base_key(
        ctx.run,
        dtype=precision.dtype,
        device="cuda" if torch.cuda.is_available() else "cpu",
        answer_tokens=answer_tokens(found, config),
    )
    if key is None or found.before is not None or not rows.test:
        return found, key
    if base := read_base(ctx.store, key, len(rows.test)):
        found = with_answers(found, "before", base.scores, base.answers)
        _keep(ctx, found)
        _say("before (another run's measurement)", base.scores)
    return found, key


def evaluate(
    ctx: StageContext,
    when: Literal["before", "after"],
    evaluation: Evaluation,
    tuned: Any,
    folder: Path,
    tokenizer: Any,
    rows: RunRows,
    method: Method,
) -> Evaluation:
    """Score the model on the held-out rows, if there are any, and add it to eval.json."""
    import torch

    config = ctx.run.config
    if not rows.test:
        return evaluation
    ctx.reporter.phase(f"evaluating {when} training")
    model = tuned
    slow = not (torch.cuda.is_available() or config.model.use_8bit or config.model.use_dora)
    if slow and not ctx.group.shards:
        model = dense_copy(tuned, folder, trust_remote_code=config.model.trust_remote_code)
    answering = Answering(
        generates=config.testing.test,
        max_new_tokens=answer_tokens(evaluation, config),
        batch_size=config.testing.batch_size,
    )
    scores, answers = evaluate_model(
        model, tokenizer, rows, answering, on_batch=partial(end_if_stopped, ctx.stop)
    )
    scores = scores.model_copy(update=method.scores(tuned, trained=when == "after"))
    evaluation = with_answers(evaluation, when, scores, answers)
    if ctx.group.first:
        _keep(ctx, evaluation)
    _say(when, scores)
    return evaluation


def _keep(ctx: StageContext, evaluation: Evaluation) -> None:
    ctx.store.write(ctx.layout.evaluation, evaluation.model_dump_json(indent=1).encode())


def _say(when: str, scores: Scores) -> None:
    _log.info(
        "%s: loss %.4f, right action %s, valid JSON %s",
        when,
        scores.loss if scores.loss is not None else float("nan"),
        _percent(scores.right_action),
        _percent(scores.valid_json),
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
