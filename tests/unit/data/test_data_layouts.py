"""Prompt layouts: checked before anything is rendered, and rendered in a sandbox."""

import pytest

from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.data.templates import check_template
from ftctl.errors import ConfigError
from ftctl_trainer.data.template import PromptTemplate, conversation, prompt_messages

ASK = ActionPrompt(history=["user: hi"], actions=["Open", "Talk"], user_input="open up")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a\n{% for x in %}", r"mine:2: syntax error in the layout", id="syntax"),
        pytest.param("{{ user_imput }}", r"unknown variable 'user_imput' in the layout", id="typo"),
        pytest.param("{{ zzz }}", r"Known: history, actions, user_input", id="far-off"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_before_it_is_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_template(text, where="mine")


def test_a_typo_is_answered_with_the_nearest_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        check_template("{{ user_imput }}")
    assert caught.value.hint == "Did you mean user_input?"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{{ user_input.nothing }}", id="unknown-attribute"),
        pytest.param("{{ 1 / 0 }}", id="arithmetic"),
        pytest.param("{{ user_input + 1 }}", id="types"),
        pytest.param("{{ ''.__class__.__mro__ }}", id="sandbox"),
        pytest.param("{% include 'other' %}", id="include"),
    ],
)
def test_a_layout_that_fails_on_a_row_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigError, match="the layout fails on the request 'open up': "):
        PromptTemplate(text).render(ASK)


def test_a_layout_that_makes_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="the layout makes nothing of the request 'open up'"):
        PromptTemplate("{% if false %}{{ user_input }}{% endif %}").render(ASK)


def test_blocks_leave_no_empty_lines_and_html_is_not_escaped() -> None:
    layout = PromptTemplate(
        "{% for line in history %}\n{{ line }}\n{% endfor %}\n<{{ user_input }}>\n"
    )
    assert layout.render(ASK.model_copy(update={"user_input": "a < b"})) == "user: hi\n<a < b>"


LAYOUT = PromptTemplate("[{{ actions | join('|') }}] {{ user_input }}")


@pytest.mark.parametrize(
    ("example", "want"),
    [
        pytest.param(
            Example(id="1", system="S", prompt=ASK, answer={"Content": {"Action": "Свет"}}),
            [
                "system: S",
                "user: [Open|Talk] open up",
                'assistant: {"Content": {"Action": "Свет"}}',
            ],
            id="actions",
        ),
        pytest.param(
            Example(
                id="1",
                messages=[
                    Message(role="user", content="q"),
                    Message(role="assistant", content="a"),
                    Message(role="user", content="r"),
                    Message(role="assistant", content="b"),
                ],
            ),
            ["user: q", "assistant: a", "user: r", "assistant: b"],
            id="messages",
        ),
        pytest.param(
            Example(id="1", messages=[Message(role="user", content="q")], chosen="c", rejected="r"),
            ["user: q", "assistant: c"],
            id="preference",
        ),
    ],
)
def test_a_row_becomes_a_conversation_whose_last_turn_is_the_answer(
    example: Example, want: list[str]
) -> None:
    turns = [f"{turn.role}: {turn.content}" for turn in conversation(example, LAYOUT)]
    assert turns == want
    assert prompt_messages(example, LAYOUT) == conversation(example, LAYOUT)[:-1]
