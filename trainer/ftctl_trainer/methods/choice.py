"""The method that a run asks for, over its rows."""

from __future__ import annotations

from typing import Any

from ftctl.contract.runfile import RunFile
from ftctl_trainer.methods.method import Method
from ftctl_trainer.rows import RunRows


def chosen_method(run: RunFile, rows: RunRows, tokenizer: Any) -> Method:
    """Make the method of training.method. Raises ConfigError, DataError: it cannot use the rows."""
    from ftctl_trainer.methods.sft import sft

    config = run.config
    return sft(config.training, rows.train_tokens, rows.eval_tokens, tokenizer)
