"""What is said of each kind of bad row."""

import re
from typing import Any

import pytest

from tests.unit.data.rows import ANSWER, ASK, read_rows


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
