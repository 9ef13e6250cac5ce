from __future__ import annotations

from types import SimpleNamespace

from ftctl_trainer.generate import stop_token_ids

TOKENIZER = SimpleNamespace(
    eos_token_id=2, all_special_ids=[0, 1, 2], added_tokens_decoder={7: "<|im_end|>"}
)


def model(eos: object) -> SimpleNamespace:
    return SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=eos))


def test_an_answer_ends_at_the_end_tokens_of_tokenizer_model_and_template() -> None:
    labels = [[50, 51, 7], [50, 52]]
    assert stop_token_ids(model([2, 9]), TOKENIZER, labels) == [2, 7, 9]


def test_a_plain_last_token_ends_no_answer() -> None:
    assert stop_token_ids(model(None), TOKENIZER, [[50, 52], []]) == [2]
