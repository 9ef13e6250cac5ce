"""What can be had without a model, and how answers are scored."""

import json

import pytest

from ftctl.contract.evaluation import Baselines, Overlap, Scores
from ftctl.data.baselines import baselines, keyword_action, majority_action, overlap
from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.data.scoring import score_answer, score_rows
from ftctl.data.scripts import script_of


def ask(request: str, action: str, *actions: str, row_id: str = "r") -> Example:
    return Example(
        id=row_id,
        prompt=ActionPrompt(actions=list(actions), user_input=request),
        answer={"MessageText": "ok", "Content": {"Action": action}},
    )


def chat(request: str, answer: str) -> Example:
    return Example(
        id="c",
        messages=[
            Message(role="user", content=request),
            Message(role="assistant", content=answer),
        ],
    )


@pytest.mark.parametrize(
    ("text", "script"),
    [
        pytest.param("turn on the light", "Latin", id="latin"),
        pytest.param("включи TV, пожалуйста", "Cyrillic", id="most-letters"),
        pytest.param("你好", "Han", id="han"),
        pytest.param("καλημέρα", "Greek", id="greek"),
        pytest.param("12:30 !", "Other", id="no-letters"),
        pytest.param("", "Other", id="empty"),
        pytest.param("aя", "Cyrillic", id="tie-by-name"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("request_text", "actions", "always", "want"),
    [
        pytest.param(
            "switch the lamps off", ["Open", "SwitchOff lamp"], [], "SwitchOff lamp", id="stems"
        ),
        pytest.param("открой дверь", ["Свет", "Открыть дверь"], [], "Открыть дверь", id="cyrillic"),
        pytest.param("open open", ["Open it", "Open that"], [], "Open it", id="first-among-equals"),
        pytest.param("hello", ["Open", "Talk"], ["Wait"], "Talk", id="none-shared-majority"),
        pytest.param("hello", ["Open", "Wait"], ["Wait"], "Wait", id="majority-not-available"),
        pytest.param("hello", ["Open"], [], "Talk", id="majority-all-the-same"),
    ],
)
def test_the_keyword_rule(
    request_text: str, actions: list[str], always: list[str], want: str
) -> None:
    assert keyword_action(ask(request_text, "Open", *actions), "Talk", always) == want


def test_baselines_are_shares_whole_and_by_script() -> None:
    train = [ask("a", "Talk"), ask("b", "Open"), ask("c", "Talk")]
    held_out = [
        ask("open up", "Open", "Open", "Talk"),
        ask("hello", "Talk", "Open", "Talk"),
        ask("привет", "Open", "Open", "Talk"),
        chat("hello", "no action here"),
    ]
    assert baselines(train, held_out) == Baselines(
        majority_action="Talk",
        majority=1 / 3,
        keyword=2 / 3,
        majority_groups={"Cyrillic": 0.0, "Latin": 0.5},
        keyword_groups={"Cyrillic": 0.0, "Latin": 1.0},
    )


def test_rows_without_actions_have_no_baselines() -> None:
    assert majority_action([chat("a", "b")]) is None
    assert baselines([chat("a", "b")], [ask("a", "Open")]) == Baselines()
    assert baselines([ask("a", "Open")], [chat("a", "b")]) == Baselines(majority_action="Open")


def test_overlap_looks_past_case_and_punctuation() -> None:
    train = [ask("Open the door!", "Open", "Open"), chat("Hi there", "x")]
    held_out = [
        ask("open the door", "Open", "Open"),
        ask("open, the door", "Talk", "Open", "Talk"),
        ask("something else", "Open", "Open"),
        chat("hi there?", "y"),
    ]
    assert overlap(train, held_out) == Overlap(rows=4, same_request=3, same_prompt=2)


RIGHT = json.dumps({"MessageText": "ok", "Content": {"Action": "Open"}})


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(RIGHT, (True, True, True), id="equal"),
        pytest.param(f"\n {RIGHT} ", (True, True, True), id="white-space-around"),
        pytest.param('{"Content":{"Action":"Open"}}', (True, True, False), id="action-alone"),
        pytest.param('{"Content":{"Action":"Talk"}}', (True, False, False), id="wrong-action"),
        pytest.param(f"Sure: {RIGHT}", (False, False, False), id="text-before"),
        pytest.param(f"{RIGHT}{RIGHT}", (False, False, False), id="twice"),
        pytest.param('{"Content":{"Action":5}}', (False, False, False), id="action-no-text"),
        pytest.param('{"Content":["Open"]}', (False, False, False), id="no-content-object"),
        pytest.param('["Open"]', (False, False, False), id="no-object"),
        pytest.param("", (False, False, False), id="nothing"),
        pytest.param("[" * 100_000, (False, False, False), id="nested"),
    ],
)
def test_an_answer_is_scored(text: str, want: tuple[bool, bool, bool]) -> None:
    assert score_answer(text, ask("q", "Open", "Open")) == want


def test_an_answer_without_action_is_right_when_it_is_equal() -> None:
    assert score_answer(" yes", chat("q", "yes")) == (None, None, True)


def test_scores_are_shares_whole_and_by_script() -> None:
    rows = [ask("open", "Open"), ask("открой", "Open"), ask("go", "Talk")]
    assert score_rows([RIGHT, "no", RIGHT], rows) == Scores(
        rows=3,
        valid_json=2 / 3,
        right_action=1 / 3,
        exact_match=1 / 3,
        groups={
            "Cyrillic": Scores(rows=1, valid_json=0.0, right_action=0.0, exact_match=0.0),
            "Latin": Scores(rows=2, valid_json=1.0, right_action=0.5, exact_match=0.5),
        },
    )


def test_no_rows_have_no_scores() -> None:
    assert score_rows([], []) == Scores(rows=0)
