"""Greedy answers of a real model, many at once."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl_trainer.generate import greedy_answers
from ftctl_trainer.model.load import load_full, load_tokenizer
from tests.integration.tiny_model import make_tiny_model

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [14, 15]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """A model, and its padding token."""
    folder = make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_full(folder, dtype="float32"), int(load_tokenizer(folder).pad_token_id)


def answered(
    model: tuple[Any, int],
    prompts: list[list[int]],
    *,
    at_once: int = 1,
    stop_ids: tuple[int] | tuple[()] = (),
) -> list[list[int]]:
    loaded, pad_id = model
    return greedy_answers(
        loaded, prompts, max_new_tokens=6, batch_size=at_once, stop_ids=stop_ids, pad_id=pad_id
    )


def test_answers_come_in_the_order_of_the_prompts_whatever_shares_a_batch(
    model: tuple[Any, int],
) -> None:
    alone = [answered(model, [prompt])[0] for prompt in PROMPTS]
    assert {len(answer) for answer in alone} == {6}
    assert len({tuple(answer) for answer in alone}) == len(PROMPTS)
    assert answered(model, PROMPTS, at_once=3) == alone


def test_an_answer_ends_before_its_end_token(model: tuple[Any, int]) -> None:
    [whole] = answered(model, PROMPTS[:1])
    assert answered(model, PROMPTS[:1], stop_ids=(whole[0],)) == [[]]
