"""Preference rows as token ids: a prompt, and the better and the worse answer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.data.example import Example, Message
from ftctl.data.problems import listing
from ftctl.errors import DataError
from ftctl_trainer.data.chat import IGNORED, ChatFormat, Encoded
from ftctl_trainer.data.template import PromptTemplate, prompt_messages


@dataclass(frozen=True)
class Pair:
    """Two conversations that part where the answer begins; labels are IGNORED before it."""

    id: str
    chosen: Encoded
    rejected: Encoded

    def row(self) -> dict[str, list[int]]:
        """As TRL's DPOTrainer takes it: each answer up to the token that ends it."""
        start = _answer_start(self.chosen)
        return {
            "prompt_ids": self.chosen.input_ids[:start],
            "chosen_ids": self.chosen.input_ids[start:],
            "rejected_ids": self.rejected.input_ids[start:],
        }


def tokenize_pairs(
    examples: Sequence[Example], tokenizer: Any, template: PromptTemplate, *, max_length: int
) -> list[Pair]:
    """
    Tokenize rows for DPO; longer conversations than `max_length` tokens lose their end.

    Only the last turn is compared, whatever dataset.assistant_only says.

    Raises:
        DataError: rows without a rejected answer, or whose answers are the same after the cut.
        ConfigError: the tokenizer has no chat template, or one that cannot mask the assistant.
    """
    chat = ChatFormat(tokenizer)
    lacking = [row.id for row in examples if row.chosen is None or row.rejected is None]
    if lacking:
        raise DataError(
            f"{len(lacking):,} rows have no chosen and rejected answer\n{listing(lacking)}",
            hint="training.method=dpo compares two answers to a prompt.",
        )
    pairs = [_pair(row, chat, template, max_length) for row in examples]
    same = [pair.id for pair in pairs if pair.chosen.input_ids == pair.rejected.input_ids]
    if same:
        raise DataError(
            f"{max_length} tokens leave no difference between chosen and rejected in "
            f"{len(same):,} rows\n{listing(same)}",
            where="training.max_seq_length",
            hint="Raise it, or shorten the prompts.",
        )
    return pairs


def _pair(row: Example, chat: ChatFormat, template: PromptTemplate, max_length: int) -> Pair:
    prompt = prompt_messages(row, template)
    chosen, rejected = (
        _last_answer(chat.encode([*prompt, Message(role="assistant", content=text or "")]))
        for text in (row.chosen, row.rejected)
    )
    start = min(_answer_start(chosen), _answer_start(rejected))
    # Where a template's text before the answer depends on the answer, all that differs counts.
    while chosen.input_ids[:start] != rejected.input_ids[:start]:
        start -= 1
    return Pair(row.id, _cut(chosen, start, max_length), _cut(rejected, start, max_length))


def _last_answer(encoded: Encoded) -> Encoded:
    """The conversation up to its last label; answers before the last one are part of the prompt."""
    end = len(encoded.labels)
    while end and encoded.labels[end - 1] == IGNORED:
        end -= 1
    start = end
    while start and encoded.labels[start - 1] != IGNORED:
        start -= 1
    labels = [IGNORED] * start + encoded.labels[start:end]
    return Encoded(encoded.input_ids[:end], labels)


def _answer_start(encoded: Encoded) -> int:
    return next(
        (number for number, label in enumerate(encoded.labels) if label != IGNORED),
        len(encoded.labels),
    )


def _cut(encoded: Encoded, start: int, max_length: int) -> Encoded:
    labels = [IGNORED] * start + encoded.input_ids[start:]
    return Encoded(encoded.input_ids[:max_length], labels[:max_length])
