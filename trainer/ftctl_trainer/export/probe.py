"""What llama.cpp itself says of a GGUF; each function runs in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl_trainer.export import llama_cpp
from ftctl_trainer.export.chat_server import chat_server
from ftctl_trainer.export.reference import Reference
from ftctl_trainer.export.tensors import Array


@dataclass(frozen=True)
class Scored:
    """A GGUF's log-probabilities at the reference positions."""

    top_logprobs: Array
    """[P, top], at the tuned model's top tokens."""
    label_logprob: Array
    """[P]"""
    best: NDArray[np.int64]
    """[P], its own most likely token."""


@dataclass(frozen=True)
class Texts:
    """How a GGUF splits, renders and answers the reference's texts."""

    tokens: list[list[int]]
    rendered: list[str]
    sample: str


def examine(model: Path, reference: Reference, threads: int) -> tuple[Scored, Texts]:
    """Both of the following."""
    return score(model, reference, threads), read_texts(model, reference, threads)


def score(model: Path, reference: Reference, threads: int, lora: Path | None = None) -> Scored:
    """Evaluate the reference positions; all their logits are exact, none is left out."""
    rows = llama_cpp.position_logits(model, reference.sequences, reference.firsts, threads, lora)
    top, labels, best = [], [], []
    for row, top_ids, label in zip(rows, reference.top_ids, reference.labels, strict=True):
        largest = row.max()
        normalizer = largest + np.log(np.exp(row - largest, dtype=np.float64).sum())
        top.append(row[top_ids] - normalizer)
        labels.append(row[label] - normalizer)
        best.append(int(row.argmax()))
    return Scored(
        np.asarray(top, np.float32), np.asarray(labels, np.float32), np.asarray(best, np.int64)
    )


def read_texts(model: Path, reference: Reference, threads: int) -> Texts:
    """Have the server split the probe, render the chats and continue the sample."""
    sample: dict[str, Any] = reference.sample
    length = len(sample["prompt_ids"]) + len(sample["ids"]) + 1
    with chat_server(model, tokens=length, threads=threads) as server:
        return Texts(
            tokens=[server.tokenize(probe["text"]) for probe in reference.probe],
            rendered=[server.render(chat["messages"]) for chat in reference.chat],
            sample=server.complete(sample["prompt_ids"], len(sample["ids"])),
        )
