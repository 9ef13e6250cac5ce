"""Rows as prompts that wait for an answer, for GRPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.data.example import Example
from ftctl.data.problems import listing
from ftctl.errors import DataError
from ftctl_trainer.data.chat import ChatFormat
from ftctl_trainer.data.template import PromptTemplate, prompt_messages


@dataclass(frozen=True)
class Prompt:
    """What a row asks, as text and as tokens."""

    row: Example
    text: str
    ids: list[int]


def tokenize_prompts(
    examples: Sequence[Example],
    tokenizer: Any,
    template: PromptTemplate,
    *,
    max_length: int,
    answer_tokens: int,
) -> list[Prompt]:
    """
    Tokenize rows up to where the assistant's turn begins.

    Args:
        max_length: tokens of prompt and answer together.
        answer_tokens: tokens kept free for the answer.
    Raises:
        DataError: prompts that leave no room for an answer.
        ConfigError: the tokenizer has no chat template.
    """
    chat = ChatFormat(tokenizer)
    prompts = []
    for row in examples:
        messages = prompt_messages(row, template)
        prompts.append(Prompt(row, chat.prompt_text(messages), chat.prompt_ids(messages)))
    long = [
        f"{prompt.row.id}: {len(prompt.ids):,} tokens"
        for prompt in prompts
        if len(prompt.ids) + answer_tokens > max_length
    ]
    if long:
        longest = max(len(prompt.ids) for prompt in prompts) + answer_tokens
        raise DataError(
            f"{max_length} tokens leave no room for an answer of {answer_tokens} after "
            f"{len(long):,} prompts\n{listing(long)}",
            where="training.max_seq_length",
            hint=f"All fit with training.max_seq_length={longest}; or lower "
            "grpo.max_completion_length.",
        )
    return prompts
