"""Published files answer the held-out rows through llama.cpp's chat endpoint, as users will ask."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ftctl.contract.evaluation import Evaluation
from ftctl.data.example import Example, Message
from ftctl.data.scoring import score_rows
from ftctl_trainer.export.chat_server import chat_server
from ftctl_trainer.export.isolated import isolated

# Conversations at once: on a CPU more of them share the same reading of the weights, but each
# holds a context of its own in memory.
_SLOTS = 4


def answer_rows(
    file: Path,
    conversations: Sequence[Sequence[Message]],
    *,
    prompt_tokens: int,
    max_new_tokens: int,
    threads: int,
    stop: threading.Event,
) -> list[str]:
    """
    Ask a GGUF, greedily, and return its answers in order.

    Args:
        conversations: the turns before each answer.
        prompt_tokens: the most that a conversation may have.
    Raises:
        RunFailedError: llama.cpp cannot load the file, or refuses a conversation.
        StoppedError: `stop` was set.
    """
    asked = [[turn.model_dump() for turn in turns] for turns in conversations]
    return isolated(stop, _answer, file, asked, prompt_tokens, max_new_tokens, threads)


def with_quantized(
    evaluation: Evaluation, qtype: str, rows: Sequence[Example], answers: Sequence[str]
) -> Evaluation:
    """Add a type's scores, and its answers to the samples."""
    said = {row.id: answer for row, answer in zip(rows, answers, strict=True)}
    samples = [
        sample.model_copy(update={"quantized": {**sample.quantized, qtype: said[sample.id]}})
        if sample.id in said
        else sample
        for sample in evaluation.samples
    ]
    scores = {**evaluation.quantized, qtype: score_rows(answers, rows)}
    return evaluation.model_copy(update={"quantized": scores, "samples": samples})


def _answer(
    file: Path,
    conversations: list[list[dict[str, str]]],
    prompt_tokens: int,
    max_new_tokens: int,
    threads: int,
) -> list[str]:
    slots = min(_SLOTS, len(conversations))
    tokens = prompt_tokens + max_new_tokens
    with (
        chat_server(file, tokens=tokens, slots=slots, threads=threads) as server,
        ThreadPoolExecutor(slots) as pool,
    ):
        return list(pool.map(partial(server.chat, max_tokens=max_new_tokens), conversations))
