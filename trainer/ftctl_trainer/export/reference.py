"""What the train stage left for the proof: tokens, and what the tuned model says to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl.errors import RunFailedError
from ftctl_trainer.export.nf4 import Nf4
from ftctl_trainer.export.tensors import Array


@dataclass(frozen=True)
class Reference:
    """
    P positions of S sequences; the last token to predict of each sequence is its last.

    Log-probabilities are natural, of the whole vocabulary.
    """

    sequences: list[list[int]]
    firsts: list[int]
    """Index of the first token to predict, by sequence."""
    label_logprob: Array
    """[P], tuned model."""
    top_ids: NDArray[np.int32]
    """[P, top], the tuned model's most likely tokens, most likely first."""
    top_logprobs: Array
    """[P, top], tuned model."""
    base_top_logprobs: Array
    """[P, top], the base model's at the same ids."""
    probe: list[dict[str, Any]]
    """Texts with the token ids that they had in training."""
    chat: list[dict[str, Any]]
    """Messages with the text that the chat template made of them."""
    sample: dict[str, Any]
    """A prompt with the tuned model's greedy answer: prompt_ids, ids, text."""
    nf4: Nf4 | None = None
    """What of the base was quantized; None: it was whole."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """[P], the tokens that came."""
        pairs = zip(self.sequences, self.firsts, strict=True)
        return np.concatenate([np.asarray(ids[first:], np.int32) for ids, first in pairs])


def read_reference(folder: Path) -> Reference:
    """
    Read reference.json and reference.safetensors.

    Raises:
        RunFailedError: they are missing, damaged, or do not belong together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        text = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "reference.safetensors")
        reference = Reference(
            sequences=[sequence["input_ids"] for sequence in text["sequences"]],
            firsts=[sequence["first_label"] for sequence in text["sequences"]],
            label_logprob=arrays["label_logprob"].astype(np.float32),
            top_ids=arrays["top_ids"].astype(np.int32),
            top_logprobs=arrays["top_logprobs"].astype(np.float32),
            base_top_logprobs=arrays["base_top_logprobs"].astype(np.float32),
            probe=text["probe"],
            chat=text["chat"],
            sample=text["sample"],
            nf4=Nf4.model_validate(text["nf4"]) if text.get("nf4") else None,
        )
        same = np.array_equal(reference.labels, arrays["label"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunFailedError(f"unreadable reference: {error}", where=str(folder)) from error
    if not same:
        raise RunFailedError("labels and sequences do not belong together", where=str(folder))
    return reference
