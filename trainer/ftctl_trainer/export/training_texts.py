"""Training rows as the texts that a model sees, for its importance matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ftctl.data.example import Example
from ftctl_trainer.data.chat import ChatFormat
from ftctl_trainer.data.template import PromptTemplate, conversation

# Evenly spread ones stand for the rest.
_MOST_ROWS = 2000


def training_texts(
    rows: Sequence[Example], template: PromptTemplate, tokenizer: Path
) -> Iterator[str]:
    """
    Render conversations with their right answers, special tokens spelt out.

    Args:
        tokenizer: folder of the tokenizer as it was trained with.
    """
    from transformers import AutoTokenizer

    chat = ChatFormat(AutoTokenizer.from_pretrained(tokenizer))
    for row in rows[:: max(1, len(rows) // _MOST_ROWS)]:
        yield chat.text(conversation(row, template))
