"""Canonical rows: what is written is what is read, and a digest depends on content alone."""

import hashlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftctl.data.digest import canonical_jsonl, dataset_record, parse_jsonl
from ftctl.data.example import ActionPrompt, Example, Message

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(
    Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=texts
)
examples = st.builds(
    Example,
    id=texts,
    messages=st.lists(messages, max_size=3),
    system=st.none() | texts,
    prompt=st.none()
    | st.builds(ActionPrompt, history=st.lists(texts), actions=st.lists(texts), user_input=texts),
    answer=st.none() | st.dictionaries(texts, json_values, max_size=3),
    chosen=st.none() | texts,
    rejected=st.none() | texts,
    responses=st.none() | st.lists(texts, max_size=3),
    ranks=st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


@dataclass
class Rows:
    splits: dict[str, list[Example]]
    sources: list[str] = field(default_factory=list)


def row(row_id: str, answer: str = "a") -> Example:
    return Example(
        id=row_id,
        messages=[
            Message(role="user", content="привет"),
            Message(role="assistant", content=answer),
        ],
    )


@given(st.lists(examples, max_size=3))
def test_canonical_rows_are_read_back_as_they_were(rows: list[Example]) -> None:
    body = canonical_jsonl(rows)
    assert parse_jsonl(body) == rows
    assert canonical_jsonl(parse_jsonl(body)) == body
    assert body.count(b"\n") == len(rows)


def test_a_canonical_row_is_one_line_of_sorted_keys_without_what_is_not_set() -> None:
    assert canonical_jsonl([row("r")]).decode() == (
        '{"id":"r","messages":[{"content":"привет","role":"user"},'
        '{"content":"a","role":"assistant"}]}\n'
    )


def test_a_record_names_every_split_and_its_rows() -> None:
    record = dataset_record(Rows({"train": [row("1"), row("2")], "eval": [row("3")]}, ["x.json"]))
    assert record.rows == {"train": 2, "eval": 1}
    assert record.sources == ["x.json"]
    assert record.splits["eval"] == hashlib.sha256(canonical_jsonl([row("3")])).hexdigest()
    assert set(record.splits) == {"train", "eval"}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(
            Rows({"eval": [row("2")], "train": [row("1")]}, ["y"]), True, id="order-and-files"
        ),
        pytest.param(Rows({"train": [row("1")]}), False, id="a-split-less"),
        pytest.param(
            Rows({"train": [row("1", "b")], "eval": [row("2")]}), False, id="another-answer"
        ),
        pytest.param(Rows({"train": [row("2")], "eval": [row("1")]}), False, id="another-split"),
    ],
)
def test_the_digest_is_that_of_the_content(other: Rows, same: bool) -> None:
    one = dataset_record(Rows({"train": [row("1")], "eval": [row("2")]}, ["x"]))
    assert (dataset_record(other).digest == one.digest) is same
