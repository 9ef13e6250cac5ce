"""Every row format: a good row whole, and what is said of each kind of bad one."""

import io
import json
import re
from typing import Any

import pytest

from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.data.raw import Source
from ftctl.data.rows import FileRows, read_examples
from ftctl.errors import DataError

ASK = {"History": ["user: hi"], "AvailableActions": ["Open"], "UserInput": "open up"}
ASKED = ActionPrompt(history=["user: hi"], actions=["Open"], user_input="open up")
ANSWER = {"MessageText": "ok", "Content": {"Action": "Open"}}


def read_rows(rows: Any, format_name: str = "auto", name: str = "x.json") -> FileRows:
    body = (rows if isinstance(rows, str) else json.dumps(rows)).encode()
    return read_examples(Source(name, lambda: io.BytesIO(body)), format_name)


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


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"prompt": ASK}, "no answer", id="actions-no-answer"),
        pytest.param({"prompt": ASK, "answer": None}, "no answer", id="actions-null-answer"),
        pytest.param({"prompt": ASK, "answer": {}}, "answer is empty", id="actions-empty-answer"),
        pytest.param(
            {"prompt": ASK, "answer": "yes"},
            "answer is a text, not an object",
            id="actions-text-answer",
        ),
        pytest.param(
            {
                "prompt": {"History": [1], "AvailableActions": "Open", "UserInput": " "},
                "answer": ["x"],
            },
            "answer is a list, not an object; prompt.History[0] is a number, not a text; "
            'prompt.AvailableActions is a text, not a list of texts or the text "None"; '
            "prompt.UserInput is empty",
            id="actions-everything-at-once",
        ),
        pytest.param(
            {"prompt": {"History": []}, "answer": ANSWER},
            "no prompt.UserInput",
            id="actions-no-request",
        ),
        pytest.param(
            {"prompt": ASK, "answer": ANSWER, "system": 5},
            "system is a number, not a text",
            id="system",
        ),
        pytest.param({"messages": "hi"}, "messages is a text, not a list", id="messages-text"),
        pytest.param({"messages": []}, "messages is empty", id="messages-empty"),
        pytest.param(
            {"messages": [{"role": "user", "content": "q"}]},
            "no answer: the last of messages is the user's",
            id="messages-no-answer",
        ),
        pytest.param(
            {"messages": [{"role": "assistant", "content": "a"}]},
            "messages has no turn of the user",
            id="messages-no-user",
        ),
        pytest.param(
            {
                "messages": [
                    5,
                    {"role": "boss", "content": "a"},
                    {"role": "user"},
                    {"role": "user", "content": ["p"]},
                ]
            },
            "messages[0] is a number, not an object with role and content; "
            "messages[1] has the unknown role boss; known: "
            "system, user, human, assistant, gpt, bot, model, tool, observation; "
            "no messages[2].content or value; messages[3].content is a list, not a text",
            id="messages-bad-turns",
        ),
        pytest.param({"instruction": "i"}, "no response or output", id="instruction-no-answer"),
        pytest.param({"instruction": "i", "output": ""}, "output is empty", id="instruction-empty"),
        pytest.param(
            {"prompt": 5, "completion": True},
            "prompt is a number, not a text; completion is a truth value, not a text",
            id="completion-types",
        ),
        pytest.param({"user": "u", "system": "s"}, "no bot", id="dialogue-no-answer"),
        pytest.param({"prompt": "p", "chosen": "a"}, "no rejected", id="preference-no-rejected"),
        pytest.param(
            {"prompt": "p", "chosen": "a", "rejected": "a"},
            "chosen and rejected are the same",
            id="preference-same",
        ),
        pytest.param({"chosen": "a", "rejected": "b"}, "no prompt", id="preference-no-prompt"),
        pytest.param(
            {
                "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
                "rejected": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "b"},
                ],
            },
            "chosen and rejected do not answer the same prompt",
            id="preference-two-prompts",
        ),
        pytest.param(
            {
                "prompt": "o",
                "chosen": [{"role": "user", "content": "p"}, {"role": "user", "content": "a"}],
                "rejected": "b",
            },
            "chosen does not end with the assistant's turn; "
            "chosen repeats another prompt than the row's",
            id="preference-bad-list",
        ),
        pytest.param(
            {"prompt": "p", "responses": ["a", 5, " "], "rank": [10**400, "2"]},
            "responses[1] is a number, not a text; responses[2] is empty; "
            "rank[0] is not a finite number; rank[1] is not a finite number; "
            "3 responses and 2 ranks",
            id="ranked-types",
        ),
        pytest.param(
            {"prompt": "p", "responses": ["a"], "rank": [1]},
            "one response; ranks need at least two",
            id="ranked-one",
        ),
        pytest.param(
            {
                "prompt": [{"role": "assistant", "content": "a"}],
                "responses": ["a", "b"],
                "rank": [1, 2],
            },
            "prompt ends with the assistant's turn",
            id="ranked-prompt",
        ),
    ],
)
def test_a_bad_row_is_named_with_all_that_is_wrong(row: Any, reason: str) -> None:
    found = read_rows([row])
    assert found.examples == []
    assert [str(problem) for problem in found.problems] == [f"x.json:1: x-1: {reason}"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            '[5, {"instruction": "i", "output": "o"}]',
            "the row is a number, not an object",
            id="no-object",
        ),
        pytest.param(
            '[{"instruction": "i", "output": "\\ud83d"}]',
            "half of a surrogate pair|unicode",
            id="surrogate",
        ),
        pytest.param(
            '[{"prompt": {"UserInput": "u"}, "answer": {"x": NaN}}]',
            "the answer is no JSON",
            id="nan",
        ),
    ],
)
def test_a_row_that_cannot_be_stored_is_a_problem(text: str, reason: str) -> None:
    (problem,) = read_rows(text).problems
    assert re.search(reason, problem.reason), problem.reason


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
