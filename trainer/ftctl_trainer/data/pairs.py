"""Preference rows as token ids: a prompt, and the better and the worse answer to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.data.example import Example, Message
from ftctl.data.problems import listing
from ftctl.errors import DataError
from ftctl_trainer.data.answers import answer_start, cut, last_answer
from ftctl_trainer.data.chat import IGNORED, ChatFormat, Encoded
from ftctl_trainer.data.template import PromptTemplate, prompt_messages


@dataclass(frozen=True)
class Pair:
    """Two conversations that part where the answer begins; labels are IGNORED before it."""

    id: str
    chosen: Encoded
    rejected: Encoded

    @property
    def length(self) -> int:
        """Tokens of the longer conversation."""
        return max(len(self.chosen.input_ids), len(self.rejected.input_ids))

    def row(self) -> dict[str, Any]:
        """As TRL's DPOTrainer takes it: each answer up to the token that ends it."""
        start = answer_start(self.chosen)
        return {
            "prompt_ids": self.chosen.input_ids[:start],
            "chosen_ids": self.chosen.input_ids[start:],
            "rejected_ids": self.rejected.input_ids[start:],
            "length": self.length,
        }


def tokenize_pairs(
    examples: Sequence[Example], tokenizer: Any, template: PromptTemplate, *, max_length: int
) -> list[Pair]:
    """
    Tokenize rows for DPO and ORPO; longer conversations than `max_length` tokens lose their end.

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
            hint="training.method=dpo and orpo compare two answers to a prompt.",
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
        last_answer(chat.encode([*prompt, Message(role="assistant", content=text or "")]))
        for text in (row.chosen, row.rejected)
    )
    start = min(answer_start(chosen), answer_start(rejected))
    # Where a template's text before the answer depends on the answer, all that differs counts.
    while chosen.input_ids[:start] != rejected.input_ids[:start]:
        start -= 1
    chosen, rejected = (cut(_from(answer, start), max_length) for answer in (chosen, rejected))
    return Pair(row.id, chosen, rejected)


def _from(encoded: Encoded, start: int) -> Encoded:
    return Encoded(encoded.input_ids, [IGNORED] * start + encoded.input_ids[start:])
