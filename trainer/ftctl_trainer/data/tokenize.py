"""Rows as token ids and labels, cut to length, with a count of what was cut."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ftctl.data.example import Example
from ftctl.data.problems import listing
from ftctl.errors import DataError
from ftctl_trainer.data.chat import IGNORED, ChatFormat, Encoded
from ftctl_trainer.data.template import PromptTemplate, conversation

_log = logging.getLogger(__name__)


@dataclass
class TokenizedRows:
    """Rows without padding, in their order; `labels` are IGNORED outside answers."""

    ids: list[str] = field(default_factory=list)
    input_ids: list[list[int]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    truncated: int = 0
    """Rows that were longer than max_length."""
    cut_labels: int = 0
    """Label tokens that were cut off."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        """A row, as a trainer's data loader takes it."""
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(map(len, self.input_ids))

    @property
    def label_tokens(self) -> int:
        """Tokens that carry a loss: labels, without a row's first, which nothing predicts."""
        return sum(map(_predicted, self.labels))


def tokenize_rows(
    examples: Sequence[Example],
    tokenizer: Any,
    template: PromptTemplate,
    *,
    max_length: int,
    assistant_only: bool = True,
) -> TokenizedRows:
    """
    Tokenize rows for SFT; nothing is padded.

    Args:
        max_length: tokens a row; longer rows lose their end.
    Raises:
        DataError: rows whose whole answer is cut off (with the length each needs), or whose
            turns the chat template refuses; all such rows are counted, the first ones named.
        ConfigError: the tokenizer has no chat template, or one that cannot mask the assistant.
    """
    chat = ChatFormat(tokenizer, assistant_only=assistant_only)
    _warn_of_special_text(examples, tokenizer)
    rows = TokenizedRows()
    refused: list[str] = []
    too_long: list[tuple[str, int]] = []
    for example in examples:
        try:
            encoded = chat.encode(conversation(example, template))
        except DataError as error:
            refused.append(f"{example.id}: {error.what}")
            continue
        if not _predicted(encoded.labels[:max_length]):
            too_long.append((example.id, len(encoded.input_ids)))
        _add(rows, example.id, encoded, max_length)
    _refuse(refused, too_long, max_length)
    return rows


def _add(rows: TokenizedRows, row_id: str, encoded: Encoded, max_length: int) -> None:
    rows.ids.append(row_id)
    rows.input_ids.append(encoded.input_ids[:max_length])
    rows.labels.append(encoded.labels[:max_length])
    rows.truncated += len(encoded.input_ids) > max_length
    rows.cut_labels += sum(label != IGNORED for label in encoded.labels[max_length:])


def _warn_of_special_text(examples: Sequence[Example], tokenizer: Any) -> None:
    # apply_chat_template reads such text as the token itself, which can end a turn in its middle.
    tokens = sorted(set(tokenizer.all_special_tokens))
    found = [(row.id, token) for row in examples for token in tokens if token in row.canonical()]
    if found:
        _log.warning(
            "%d rows hold text that is a special token of the model, the first: %s has %s",
            len({row_id for row_id, _ in found}),
            *found[0],
        )


def _predicted(labels: Sequence[int]) -> int:
    return sum(label != IGNORED for label in labels[1:])


def _refuse(refused: Sequence[str], too_long: Sequence[tuple[str, int]], max_length: int) -> None:
    if refused:
        raise DataError(
            f"the model's chat template refuses {len(refused):,} rows\n{listing(refused)}",
            hint="Mend the order of the turns, or leave these rows out.",
        )
    if too_long:
        lines = [f"{row_id}: {length:,} tokens" for row_id, length in too_long]
        longest = max(length for _, length in too_long)
        raise DataError(
            f"{max_length} tokens cut off the whole answer of {len(too_long):,} rows\n"
            f"{listing(lines)}",
            where="training.max_seq_length",
            hint=f"All of these rows fit with training.max_seq_length={longest}; "
            "or shorten their prompts.",
        )
