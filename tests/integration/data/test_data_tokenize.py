"""Rows as tokens: cut, counted, padded; with a real tokenizer."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.errors import ConfigError, DataError
from ftctl_trainer.data.chat import IGNORED
from ftctl_trainer.data.collator import Collator
from ftctl_trainer.data.template import PromptTemplate
from ftctl_trainer.data.tokenize import tokenize_rows
from ftctl_trainer.data.tokens import check_vocabulary, ensure_pad_token
from tests.integration.data.tiny_tokenizer import CHATML, tiny_tokenizer

LAYOUT = PromptTemplate("{{ user_input }}")
# <|start|>user\n REQUEST <|end|>\n <|start|>assistant\n: one token a byte.
AROUND = 1 + len("user\n") + 2 + 1 + len("assistant\n")


def row(row_id: str, request: str, answer: str = "yes") -> Example:
    turns = [Message(role="user", content=request), Message(role="assistant", content=answer)]
    return Example(id=row_id, messages=turns)


@pytest.fixture
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_rows_that_fit_are_whole(tokenizer: Any) -> None:
    asked = Example(id="b", prompt=ActionPrompt(user_input="go"), answer={"a": 1})
    rows = tokenize_rows([row("a", "q"), asked], tokenizer, LAYOUT, max_length=100)
    assert rows.ids == ["a", "b"]
    assert tokenizer.decode(rows.input_ids[1]) == (
        '<|start|>user\ngo<|end|>\n<|start|>assistant\n{"a": 1}<|end|>\n'
    )
    assert (rows.truncated, rows.cut_labels) == (0, 0)
    assert rows.label_tokens == len("yes") + 1 + len('{"a": 1}') + 1
    assert rows.tokens == sum(len(rows[index]["input_ids"]) for index in range(len(rows)))


def test_a_rows_first_token_carries_no_loss_as_nothing_predicts_it(tokenizer: Any) -> None:
    rows = tokenize_rows(
        [row("a", "q"), row("b", "q")], tokenizer, LAYOUT, max_length=100, assistant_only=False
    )
    assert rows.labels == rows.input_ids
    assert rows.label_tokens == rows.tokens - 2


def test_a_longer_row_loses_its_end_and_is_counted(tokenizer: Any) -> None:
    length = AROUND + 1 + 4
    rows = tokenize_rows(
        [row("a", "q", "0123456789"), row("b", "q", "01")], tokenizer, LAYOUT, max_length=length
    )
    assert [len(ids) for ids in rows.input_ids] == [length, AROUND + 1 + 2 + 2]
    # Six characters and the end token; the line break after it is no label.
    assert (rows.truncated, rows.cut_labels) == (1, 7)
    assert [label for label in rows.labels[0] if label != IGNORED] == rows.input_ids[0][-4:]


def test_rows_whose_whole_answer_is_cut_off_are_refused_with_the_length_they_need(
    tokenizer: Any,
) -> None:
    examples = [row("short", "q"), *(row(f"r{n}", "x" * (40 + n)) for n in range(22))]
    with pytest.raises(DataError) as caught:
        tokenize_rows(examples, tokenizer, LAYOUT, max_length=AROUND + 30)
    lines = caught.value.what.splitlines()
    assert lines[0] == f"{AROUND + 30} tokens cut off the whole answer of 22 rows"
    assert lines[1] == f"  r0: {AROUND + 40 + 5} tokens"
    assert lines[20:] == [f"  r19: {AROUND + 59 + 5} tokens", "  and 2 more"]
    assert caught.value.where == "training.max_seq_length"
    assert f"training.max_seq_length={AROUND + 61 + 5}" in str(caught.value.hint)


def test_a_row_is_refused_exactly_when_no_token_of_its_answer_is_left(tokenizer: Any) -> None:
    prompt = AROUND + 1
    assert (
        tokenize_rows([row("a", "q")], tokenizer, LAYOUT, max_length=prompt + 1).label_tokens == 1
    )
    with pytest.raises(DataError, match="cut off the whole answer of 1 rows"):
        tokenize_rows([row("a", "q")], tokenizer, LAYOUT, max_length=prompt)


def test_rows_that_the_template_refuses_are_all_named() -> None:
    tokenizer = tiny_tokenizer(
        "{% if messages[0]['content'] == 'bad' %}{{ raise_exception('bad turn') }}{% endif %}"
        + CHATML
    )
    examples = [row("a", "bad"), row("b", "q"), row("c", "bad")]
    with pytest.raises(DataError, match="chat template refuses 2 rows") as caught:
        tokenize_rows(examples, tokenizer, LAYOUT, max_length=100)
    assert caught.value.what.splitlines()[1:] == [
        "  a: the chat template refuses the turns user, assistant: bad turn",
        "  c: the chat template refuses the turns user, assistant: bad turn",
    ]


def test_text_that_is_a_special_token_is_warned_of(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tokenize_rows([row("a", "say <|end|>")], tokenizer, LAYOUT, max_length=100)
    assert [record.getMessage() for record in caplog.records] == [
        "1 rows hold text that is a special token of the model, the first: a has <|end|>"
    ]


@pytest.mark.parametrize(
    ("special", "unknown", "want"),
    [
        pytest.param((), None, "<|end|>", id="end-token-when-there-is-nothing-else"),
        pytest.param((), "<|start|>", "<|start|>", id="unknown-token"),
        pytest.param(
            ("<|finetune_right_pad_id|>",), "<|start|>", "<|finetune_right_pad_id|>", id="reserved"
        ),
        pytest.param(("<pad>",), None, "<pad>", id="pad-in-the-vocabulary"),
    ],
)
def test_a_pad_token_is_one_that_the_tokenizer_knows(
    special: tuple[str, ...], unknown: str | None, want: str
) -> None:
    tokenizer = tiny_tokenizer(special=special)
    tokenizer.unk_token = unknown
    size = len(tokenizer)
    assert ensure_pad_token(tokenizer) == want
    assert tokenizer.pad_token == want
    assert len(tokenizer) == size
    assert ensure_pad_token(tokenizer) == want


def test_a_tokenizer_with_nothing_to_pad_with_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no pad, unknown or end token"):
        ensure_pad_token(tokenizer)


def test_a_batch_is_padded_to_its_longest_row_and_an_end_token_stays_a_label() -> None:
    batch = Collator(7)(
        [{"input_ids": [1, 2, 7], "labels": [-100, 2, 7]}, {"input_ids": [3], "labels": [3]}]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 7], [3, 7, 7]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 2, 7], [3, -100, -100]],
        "real_tokens": [3, 1],
    }
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer) - 2
    settings = {"model_type": "llama", "vocab_size": rows, "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    message = f"the tokenizer has 2 tokens that the model has no embedding for, .*knows {rows:,}"
    with pytest.raises(ConfigError, match=message):
        check_vocabulary(tokenizer, tmp_path)
    tokenizer_fits = {**settings, "vocab_size": rows + 2}
    (tmp_path / "config.json").write_text(json.dumps(tokenizer_fits))
    check_vocabulary(tokenizer, tmp_path)
