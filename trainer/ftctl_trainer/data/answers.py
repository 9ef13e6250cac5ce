"""The last answer of a conversation as tokens, and rows that say whether it is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.data.example import Example
from ftctl.data.problems import listing
from ftctl.errors import DataError
from ftctl_trainer.data.chat import IGNORED, ChatFormat, Encoded
from ftctl_trainer.data.template import PromptTemplate, conversation


@dataclass(frozen=True)
class Answer:
    """A conversation up to the end of its last answer; labels are IGNORED before that answer."""

    id: str
    encoded: Encoded
    good: bool

    def row(self) -> dict[str, Any]:
        """As TRL's KTOTrainer takes it."""
        start = answer_start(self.encoded)
        return {
            "prompt_ids": self.encoded.input_ids[:start],
            "completion_ids": self.encoded.input_ids[start:],
            "label": self.good,
            "length": len(self.encoded.input_ids),
        }


def tokenize_answers(
    examples: Sequence[Example], tokenizer: Any, template: PromptTemplate, *, max_length: int
) -> list[Answer]:
    """
    Tokenize rows for KTO; longer conversations than `max_length` tokens lose their end.

    Only the last turn is judged, whatever dataset.assistant_only says.

    Raises:
        DataError: rows without a label, or whose whole answer is cut off.
        ConfigError: the tokenizer has no chat template, or one that cannot mask the assistant.
    """
    chat = ChatFormat(tokenizer)
    lacking = [row.id for row in examples if row.label is None]
    if lacking:
        raise DataError(
            f"{len(lacking):,} rows have no label\n{listing(lacking)}",
            hint="training.method=kto learns from answers that are called good or bad.",
        )
    answers = [
        Answer(row.id, cut(last_answer(chat.encode(conversation(row, template))), max_length), good)
        for row in examples
        if (good := row.label) is not None
    ]
    lost = [answer.id for answer in answers if set(answer.encoded.labels) == {IGNORED}]
    if lost:
        raise DataError(
            f"{max_length} tokens cut off the whole answer of {len(lost):,} rows\n{listing(lost)}",
            where="training.max_seq_length",
            hint="Raise it, or shorten the prompts.",
        )
    return answers


def last_answer(encoded: Encoded) -> Encoded:
    """The conversation up to its last label; answers before the last one are part of the prompt."""
    end = len(encoded.labels)
    while end and encoded.labels[end - 1] == IGNORED:
        end -= 1
    start = end
    while start and encoded.labels[start - 1] != IGNORED:
        start -= 1
    labels = [IGNORED] * start + encoded.labels[start:end]
    return Encoded(encoded.input_ids[:end], labels)


def answer_start(encoded: Encoded) -> int:
    """Index of the first token that is a label; the number of tokens where none is."""
    return next(
        (number for number, label in enumerate(encoded.labels) if label != IGNORED),
        len(encoded.labels),
    )


def cut(encoded: Encoded, max_length: int) -> Encoded:
    """The first `max_length` tokens."""
    return Encoded(encoded.input_ids[:max_length], encoded.labels[:max_length])
