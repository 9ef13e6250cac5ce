"""The rows of a run, from the store to tokens; bad ones are refused before a model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.contract.runfile import RunFile
from ftctl.data.digest import pull_split
from ftctl.data.example import Example
from ftctl.errors import DataError
from ftctl.storage.base import Store
from ftctl_trainer.data.template import PromptTemplate
from ftctl_trainer.data.tokenize import TokenizedRows, tokenize_rows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRows:
    """Examples and tokens by split; `test` is what is answered and scored."""

    template: PromptTemplate
    train: list[Example]
    held_out: list[Example]
    test: list[Example]
    train_tokens: TokenizedRows
    eval_tokens: TokenizedRows
    test_tokens: TokenizedRows


def load_rows(store: Store, run: RunFile, tokenizer: Any) -> RunRows:
    """
    Read and tokenize every split.

    Raises:
        DataError: there are no training rows, or rows whose whole answer is cut off.
        StorageError: the store does not have the data set as it was uploaded.
    """
    config = run.config
    template = PromptTemplate(run.template)
    splits = {name: pull_split(store, run.data.digest, name) for name in run.data.splits}
    train = splits.get("train", [])
    if not train:
        raise DataError("the data set has no training rows", where=f"sha256:{run.data.digest}")
    held_out = splits.get("eval", [])
    # A bad answer is nothing to be scored by.
    test = splits.get("test") or [row for row in held_out if row.label is not False]
    if config.testing.limit:
        test = test[: config.testing.limit]

    def tokens(name: str, examples: Sequence[Example]) -> TokenizedRows:
        rows = tokenize_rows(
            examples,
            tokenizer,
            template,
            max_length=config.training.max_seq_length,
            assistant_only=config.dataset.assistant_only,
        )
        _say(name, rows)
        return rows

    return RunRows(
        template,
        train,
        held_out,
        test,
        tokens("train", train),
        tokens("eval", held_out),
        tokens("test", test),
    )


def _say(name: str, rows: TokenizedRows) -> None:
    if not len(rows):
        return
    cut = f", {rows.truncated:,} rows cut ({rows.cut_labels:,} label tokens lost)"
    _log.info(
        "%s: %s rows, %s tokens, %s of them labels%s",
        name,
        f"{len(rows):,}",
        f"{rows.tokens:,}",
        f"{rows.label_tokens:,}",
        cut if rows.truncated else "",
    )
