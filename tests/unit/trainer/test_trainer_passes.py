"""The largest forward pass that there may be, by which memory is shared out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ftctl.contract.spec import GrpoConfig, TrainingConfig
from ftctl.data.example import Example
from ftctl_trainer.data.chat import Encoded
from ftctl_trainer.data.pairs import Pair
from ftctl_trainer.data.prompts import Prompt
from ftctl_trainer.methods.dpo import Dpo
from ftctl_trainer.methods.grpo import Grpo
from ftctl_trainer.methods.sft import Sft


def encoded(tokens: int) -> Encoded:
    return Encoded([7] * tokens, [7] * tokens)


def training(rows: int, passes: int = 4, **settings: Any) -> TrainingConfig:
    return TrainingConfig(
        per_device_train_batch_size=rows, gradient_accumulation_steps=passes, **settings
    )


@pytest.mark.parametrize(
    ("rows", "world", "lengths"),
    [
        # Not of the two pairs with the longest answers.
        pytest.param(1, 1, [160, 150], id="one-pair"),
        pytest.param(2, 1, [170, 20, 160, 150], id="two-pairs"),
        pytest.param(2, 8, [160, 150], id="a-share-of-a-pass"),
    ],
)
def test_a_pass_holds_both_answers_of_its_pairs(rows: int, world: int, lengths: list[int]) -> None:
    pairs = [
        Pair(str(number), encoded(chosen), encoded(rejected))
        for number, (chosen, rejected) in enumerate([(20, 25), (160, 150), (20, 20), (170, 20)])
    ]
    made = Dpo(training(rows), 0.1, pairs, [], None)
    assert made.pass_lengths(world) == lengths
    assert made.pass_tokens(world) == sum(lengths)
    assert made.batch_rows(world) == len(lengths)


@pytest.mark.parametrize(
    ("rows", "answers", "lengths"),
    [
        pytest.param(2, 4, [110, 110], id="one-prompt"),
        pytest.param(4, 2, [60, 60, 110, 110], id="two-prompts"),
    ],
)
def test_a_pass_holds_several_answers_to_a_prompt(
    rows: int, answers: int, lengths: list[int]
) -> None:
    prompts = [Prompt(cast(Example, None), "", [7] * length) for length in (50, 10, 100, 20)]
    settings = GrpoConfig(num_generations=answers, max_completion_length=10)
    made = Grpo(training(rows), settings, cast(Any, None), prompts, [], None, [])
    assert made.pass_lengths(1) == lengths
    assert made.pass_tokens(1) == sum(lengths)


@pytest.mark.parametrize(
    ("settings", "world", "tokens"),
    [
        pytest.param({}, 1, 92, id="all-rows-of-a-step"),
        pytest.param({}, 2, 73, id="half-of-them"),
        pytest.param({}, 4, 50, id="a-pass-of-them"),
        pytest.param({}, 8, 30, id="one-of-them"),
        pytest.param({"neftune_noise_alpha": 5}, 1, 50, id="noise-is-by-pass"),
        pytest.param({"neftune_noise_alpha": 5}, 8, 30, id="noise-and-a-row"),
        pytest.param({"max_seq_length": 40}, 1, 80, id="as-far-as-passes-may-reach"),
    ],
)
def test_a_device_takes_its_share_of_a_step(
    settings: dict[str, Any], world: int, tokens: int
) -> None:
    rows = [{"input_ids": [7] * length} for length in (3, 9, 14, 30, 8, 5, 20, 3, 1)]
    made = Sft(training(2, **settings), rows, [], None)
    assert made.pass_tokens(world) == tokens
    assert sum(made.pass_lengths(world)) <= tokens


def test_a_packed_sequence_is_as_many_rows_as_are_in_it() -> None:
    packed = {"input_ids": [7] * 9, "position_ids": [0, 1, 2, 0, 1, 2, 3, 4, 0]}
    made = Sft(training(1, packing=True), [packed, {"input_ids": [7] * 4}], [], None)
    assert made.pass_lengths(1)[:3] == [3, 5, 1]
