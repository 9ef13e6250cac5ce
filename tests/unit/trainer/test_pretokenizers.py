"""Names and structures of pre-tokenizers."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models

from ftctl_trainer.data.pretokenizers import make_pre_tokenizer, pre_tokenizer_name


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_what_is_made_of_a_name_has_that_name(name: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = make_pre_tokenizer(name)

    assert pre_tokenizer_name(json.loads(tokenizer.to_str())["pre_tokenizer"]) == name


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        pytest.param("gpt-2", ["a", "Ġ12"], id="gpt-2"),
        pytest.param("smollm", ["a", "Ġ", "1", "2"], id="each-digit-alone"),
        pytest.param("llama-bpe", ["a", "Ġ", "12"], id="digits-by-three"),
        pytest.param("qwen2", ["a", "Ġ", "1", "2"], id="qwen2"),
    ],
)
def test_text_is_split_as_the_name_says(name: str, pieces: list[str]) -> None:
    made = make_pre_tokenizer(name)

    assert made is not None
    assert [piece for piece, _ in made.pre_tokenize_str("a 12")] == pieces


def test_others_have_no_name_and_cannot_be_made() -> None:
    assert pre_tokenizer_name({"type": "Metaspace"}) is None
    assert pre_tokenizer_name(None) is None
    assert make_pre_tokenizer("unheard-of") is None
