"""The method that a run asks for, over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftctl.contract.runfile import RunFile
from ftctl.data.example import Example
from ftctl.errors import DataError
from ftctl.estimate.steps import a_step
from ftctl_trainer.data.answers import Answer, tokenize_answers
from ftctl_trainer.data.pairs import Pair, tokenize_pairs
from ftctl_trainer.data.prompts import Prompt, tokenize_prompts
from ftctl_trainer.generate import ends_of_answers
from ftctl_trainer.methods.method import Method
from ftctl_trainer.rows import RunRows


def chosen_method(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    """Make the method of training.method. Raises ConfigError, DataError: it cannot use the rows."""
    match run.config.training.method:
        case "dpo" | "orpo":
            return _pairs(run, rows, tokenizer)
        case "kto":
            return _kto(run, rows, tokenizer)
        case "grpo":
            return _grpo(run, rows, tokenizer)
        case _:
            from ftctl_trainer.methods.sft import sft

            return sft(run.config.training, rows.train_tokens, rows.eval_tokens, tokenizer)


def _pairs(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    config = run.config

    def tokenized(examples: Sequence[Example]) -> list[Pair]:
        return tokenize_pairs(
            examples, tokenizer, rows.template, max_length=config.training.max_seq_length
        )

    train, held_out = tokenized(rows.train), tokenized(rows.held_out)
    if config.training.method == "orpo":
        from ftctl_trainer.methods.orpo import Orpo

        return Orpo(config.training, config.orpo.beta, train, held_out, tokenizer)
    from ftctl_trainer.methods.dpo import Dpo

    return Dpo(
        config.training,
        config.dpo.beta,
        train,
        held_out,
        tokenizer,
        continues=run.init_adapter is not None,
    )


def _kto(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    training = run.config.training

    def tokenized(examples: Sequence[Example]) -> list[Answer]:
        return tokenize_answers(
            examples, tokenizer, rows.template, max_length=training.max_seq_length
        )

    train, held_out = tokenized(rows.train), tokenized(rows.held_out)
    if len({answer.good for answer in train}) < 2:
        kind, other = ("good", "bad") if train[0].good else ("bad", "good")
        raise DataError(
            f"all {len(train):,} answers are {kind}",
            where="dataset.train",
            hint=f"training.method=kto tells good answers from bad ones: add {other} ones.",
        )
    from ftctl_trainer.methods.kto import Kto

    return Kto(
        training,
        run.config.kto,
        train,
        held_out,
        tokenizer,
        continues=run.init_adapter is not None,
    )


def _grpo(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    from ftctl_trainer.methods.grpo import MEASURED, Grpo
    from ftctl_trainer.methods.rewards import Rewards

    training, settings = run.config.training, run.config.grpo
    rewards = Rewards(settings.rewards, run.reward_files)
    rewards.check(rows.train)

    def tokenized(examples: Sequence[Example]) -> list[Prompt]:
        return tokenize_prompts(
            examples,
            tokenizer,
            rows.template,
            max_length=training.max_seq_length,
            answer_tokens=settings.completion_tokens,
        )

    prompts = tokenized(rows.train)
    wanted = a_step(training, settings.num_generations)
    if len(prompts) < wanted:
        raise DataError(
            f"{len(prompts)} prompts are fewer than the {wanted} of one step",
            where="training.gradient_accumulation_steps",
            hint="Lower it or per_device_train_batch_size, raise grpo.num_generations, or give "
            "more rows.",
        )
    return Grpo(
        training,
        settings,
        rewards,
        prompts,
        tokenized(rows.held_out[:MEASURED]),
        tokenizer,
        ends_of_answers(tokenizer, rows.train_tokens.labels),
        continues=run.init_adapter is not None,
    )
