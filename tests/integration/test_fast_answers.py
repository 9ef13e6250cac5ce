"""Answers of models with fast layers, against transformers' own generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ftctl_trainer.generate import greedy_answers
from ftctl_trainer.model.fast import decode
from ftctl_trainer.model.fast.decode import answers, sampled, together
from tests.integration.fast_models import with_fast_layers
from tests.integration.tuned_model import tuned

PROMPTS = [list(range(10, 17)), [40], list(range(100, 133))]


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """The most likely tokens."""
    return logits.argmax(-1)


@pytest.mark.parametrize("at_once", [100, 8, 1], ids=["all", "two-and-one", "one-by-one"])
@pytest.mark.parametrize("kind", ["llama", "llama-biases", "qwen2"])
def test_the_most_likely_answers_are_those_of_transformers(
    folders: dict[str, Path], kind: str, at_once: int
) -> None:
    plain = tuned(folders[kind])
    _, fast = with_fast_layers(folders[kind], dropout=0.5)
    wanted = greedy_answers(plain, PROMPTS, max_new_tokens=20, batch_size=3, stop_ids=[], pad_id=0)

    found = answers(fast, PROMPTS, most=20, at_once=at_once, stop_ids=[], choose=greedy)
    assert found == wanted
    # Each row ends by itself, and all of them before they are as long as they may be.
    stop = wanted[0][3]
    found = answers(fast, PROMPTS, most=20, at_once=at_once, stop_ids=[stop], choose=greedy)
    for row, whole in zip(found, wanted, strict=True):
        end = whole.index(stop) + 1 if stop in whole else 20
        assert row == whole[:end]


@pytest.mark.parametrize(
    ("at_once", "groups"),
    [
        (40, [[0, 1, 2, 3]]),
        (39, [[0, 1, 2], [3]]),
        (30, [[0, 1], [2, 3]]),
        (9, [[0], [1], [2], [3]]),
        (0, [[0], [1], [2], [3]]),
    ],
)
def test_prompts_are_read_together_as_far_as_they_fit(at_once: int, groups: list[Any]) -> None:
    assert together([5, 20, 10, 5], at_once) == groups


def test_caches_are_there_before_weights_are_unpacked(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    made, unpacked = decode._State.__init__, decode._unpacked

    def counted(self: Any, *arguments: Any) -> None:
        order.append("caches")
        made(self, *arguments)

    def unpack(*arguments: Any) -> Any:
        order.append("weights")
        return unpacked(*arguments)

    monkeypatch.setattr(decode._State, "__init__", counted)
    monkeypatch.setattr(decode, "_unpacked", unpack)
    _, fast = with_fast_layers(folders["llama"])
    answers(fast, PROMPTS, most=2, at_once=100, stop_ids=[], choose=greedy)
    assert order == ["caches", "weights"]


def test_tokens_are_drawn_by_their_probability() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -20.0]]).repeat(40_000, 1)
    torch.manual_seed(3)
    found = torch.bincount(sampled(0.5)(logits), minlength=4) / len(logits)

    expected = torch.softmax(logits[0] / 0.5, -1)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
