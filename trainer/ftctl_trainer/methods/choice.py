"""The method that a run asks for, over its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftctl.contract.runfile import RunFile
from ftctl.contract.spec import Config
from ftctl.data.example import Example
from ftctl_trainer.data.pairs import Pair, tokenize_pairs
from ftctl_trainer.methods.method import Method
from ftctl_trainer.rows import RunRows


def chosen_method(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    """Make the method of training.method. Raises ConfigError, DataError: it cannot use the rows."""
    match run.config.training.method:
        case "dpo":
            return _dpo(run.config, rows, tokenizer)
        case _:
            from ftctl_trainer.methods.sft import sft

            return sft(run.config.training, rows.train_tokens, rows.eval_tokens, tokenizer)


def _dpo(config: Config, rows: RunRows, tokenizer: Any) -> Method:
    def tokenized(examples: Sequence[Example]) -> list[Pair]:
        return tokenize_pairs(
            examples, tokenizer, rows.template, max_length=config.training.max_seq_length
        )

    train, held_out = tokenized(rows.train), tokenized(rows.held_out)
    from ftctl_trainer.methods.dpo import Dpo

    return Dpo(config.training, config.dpo.beta, train, held_out, tokenizer)
