"""Every row format: a good row whole; which format is meant."""

import json
from typing import Any

import pytest

from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.errors import DataError
from tests.unit.data.rows import ANSWER, ASK, read_rows

ASKED = ActionPrompt(history=["user: hi"], actions=["Open"], user_input="open up")


def turns(*texts: str) -> list[Message]:
    """`role: content` texts as messages."""
    return [
        Message(role=role, content=content)
        for role, _, content in (text.partition(": ") for text in texts)
    ]


@pytest.mark.parametrize(
    ("row", "format_name", "want"),
    [
        pytest.param(
            {"prompt": ASK, "answer": ANSWER},
            "actions",
            {"prompt": ASKED, "answer": ANSWER},
            id="actions",
        ),
        pytest.param(
            {
                "system": "S",
                "prompt": {**ASK, "AvailableActions": "None", "History": None},
                "answer": ANSWER,
            },
            "actions",
            {"system": "S", "prompt": ActionPrompt(user_input="open up"), "answer": ANSWER},
            id="actions-none-as-text",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            "messages",
            {"messages": turns("user: q", "assistant: a")},
            id="messages",
        ),
        pytest.param(
            {
                "system": "S",
                "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            },
            "messages",
            {"messages": turns("system: S", "user: q", "assistant: a")},
            id="sharegpt",
        ),
        pytest.param(
            {"instruction": "i", "input": "x", "output": "o"},
            "instruction",
            {"messages": turns("user: i\n\nx", "assistant: o")},
            id="instruction-with-input",
        ),
        pytest.param(
            {"instruction": "i", "input": "", "response": "r"},
            "instruction",
            {"messages": turns("user: i", "assistant: r")},
            id="instruction-response",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c"},
            "prompt_completion",
            {"messages": turns("user: p", "assistant: c")},
            id="prompt-completion",
        ),
        pytest.param(
            {"system": "S", "user": "u", "bot": "b"},
            "dialogue",
            {"messages": turns("system: S", "user: u", "assistant: b")},
            id="dialogue",
        ),
        pytest.param(
            {"prompt": "p", "chosen": "good", "rejected": "bad"},
            "preference",
            {"messages": turns("user: p"), "chosen": "good", "rejected": "bad"},
            id="preference-texts",
        ),
        pytest.param(
            {
                "chosen": [
                    {"role": "user", "content": "p"},
                    {"role": "assistant", "content": "good"},
                ],
                "rejected": [
                    {"role": "user", "content": "p"},
                    {"role": "assistant", "content": "bad"},
                ],
                "messages": [],
            },
            "preference",
            {"messages": turns("user: p"), "chosen": "good", "rejected": "bad"},
            id="preference-with-the-prompt-inside",
        ),
        pytest.param(
            {
                "prompt": [{"role": "user", "content": "p"}],
                "chosen": [{"role": "assistant", "content": "good"}],
                "rejected": "bad",
            },
            "preference",
            {"messages": turns("user: p"), "chosen": "good", "rejected": "bad"},
            id="preference-messages",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c", "label": False},
            "labelled",
            {"messages": turns("user: p", "assistant: c"), "label": False},
            id="labelled",
        ),
        pytest.param(
            {
                "prompt": [{"role": "user", "content": "p"}],
                "completion": [{"role": "assistant", "content": "c"}],
                "label": "TRUE",
            },
            "labelled",
            {"messages": turns("user: p", "assistant: c"), "label": True},
            id="labelled-messages-and-a-cell",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c", "label": "greeting"},
            "prompt_completion",
            {"messages": turns("user: p", "assistant: c")},
            id="a-label-of-another-kind",
        ),
        pytest.param(
            {"prompt": "p", "responses": ["a", "b"], "rank": [2, 1]},
            "ranked",
            {"messages": turns("user: p"), "responses": ["a", "b"], "ranks": [2, 1]},
            id="ranked",
        ),
    ],
)
def test_a_row_becomes_an_example(row: Any, format_name: str, want: dict[str, Any]) -> None:
    found = read_rows([row])
    assert found.problems == []
    assert found.format == format_name
    assert found.examples == [Example(id="x-1", **want)]


def test_ids_are_the_maps_keys_or_the_rows_own_or_numbers() -> None:
    row = {"instruction": "i", "output": "o"}
    assert [e.id for e in read_rows({"examples": {"k": row}}).examples] == ["k"]
    rows = [{**row, "id": "own"}, {**row, "id": 7}, row, {**row, "id": ""}]
    assert [e.id for e in read_rows(rows).examples] == ["own", "7", "x-3", "x-4"]


def test_a_key_that_stands_twice_is_a_bad_row_not_a_lost_one() -> None:
    row = '{"instruction": "i", "output": "o"}'
    found = read_rows(f'{{"examples": {{"k": {row},\n"k": {row},\n"k": {row}}}}}')
    assert len(found.examples) == 1
    assert [str(problem) for problem in found.problems] == [
        f"x.json:{line}: k: the id stands twice; first at x.json:1" for line in (2, 3)
    ]


def test_the_system_text_beside_the_rows_is_every_rows_unless_it_has_its_own() -> None:
    row = {"prompt": ASK, "answer": ANSWER}
    found = read_rows({"examples": [row, {**row, "system": "own"}], "system": "S"})
    assert [example.system for example in found.examples] == ["S", "own"]


def test_lists_and_objects_in_csv_cells_are_json_text() -> None:
    cell = json.dumps([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}])
    text = 'conversations\n"' + cell.replace('"', '""') + '"\n'
    assert [e.messages for e in read_rows(text, name="x.csv").examples] == [
        turns("user: q", "assistant: a")
    ]


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        pytest.param(
            [{"q": 1, "a": 2}], "the row format is unclear; fields found: a, q", id="unknown"
        ),
        pytest.param(
            [1, 2], "the row format is unclear: no row is an object with fields", id="no-objects"
        ),
        pytest.param(
            [{"instruction": "i", "output": "o", "messages": []}],
            "rows match two formats: messages and instruction",
            id="two",
        ),
    ],
)
def test_an_unclear_format_is_refused_with_the_names_there_are(rows: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(rows)
    assert caught.value.what == what
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Name it with dataset.format=NAME: ranked (")
    assert "prompt_completion (prompt, completion)" in caught.value.hint


def test_a_named_format_is_not_guessed() -> None:
    row = {"instruction": "i", "output": "o", "user": "u", "bot": "b"}
    assert read_rows([row], "dialogue").examples[0].messages == turns("user: u", "assistant: b")


def test_the_format_is_that_of_most_rows() -> None:
    rows = [{"user": "u", "bot": "b"}, {"instruction": "i"}, {"user": "u", "bot": "b"}]
    found = read_rows(rows)
    assert found.format == "dialogue"
    assert [problem.reason for problem in found.problems] == ["no user; no bot"]
