"""Turns a row into the conversation that is trained on, by the user's prompt layout."""

from __future__ import annotations

import jinja2

from ftctl.data.example import ActionPrompt, Example, Message
from ftctl.data.parts import answer_text
from ftctl.data.templates import check_template, environment
from ftctl.errors import ConfigError

# All that a layout's own expressions can raise in the sandbox; the layout is the user's.
_LAYOUT_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class PromptTemplate:
    """
    A prompt layout, compiled.

    Args:
        text: Jinja with the variables history, actions (lists of texts) and user_input (a text).
    Raises:
        ConfigError: a syntax error or an unknown variable.
    """

    def __init__(self, text: str) -> None:
        check_template(text)
        self._template = environment().from_string(text)

    def render(self, prompt: ActionPrompt) -> str:
        """
        The user's message, white space at its ends removed.

        Raises:
            ConfigError: an expression fails on this row, or nothing comes out.
        """
        try:
            text = self._template.render(
                history=list(prompt.history),
                actions=list(prompt.actions),
                user_input=prompt.user_input,
            )
        except _LAYOUT_ERRORS as error:
            raise ConfigError(
                f"the layout fails on the request {prompt.user_input[:60]!r}: {error}",
                where="dataset.template",
                hint="Variables: history and actions are lists of texts, user_input is a text.",
            ) from error
        if not text.strip():
            raise ConfigError(
                f"the layout makes nothing of the request {prompt.user_input[:60]!r}",
                where="dataset.template",
                hint="Show the request with {{ user_input }}.",
            )
        return text.strip()


def prompt_messages(example: Example, template: PromptTemplate) -> list[Message]:
    """All turns before the answer: what the model is given when it is to answer."""
    if example.prompt is not None:
        turns = [Message(role="user", content=template.render(example.prompt))]
    else:
        turns = list(example.messages)
        if turns and turns[-1].role == "assistant":
            turns.pop()
    if example.system and not any(turn.role == "system" for turn in turns):
        turns.insert(0, Message(role="system", content=example.system))
    return turns


def conversation(example: Example, template: PromptTemplate) -> list[Message]:
    """All turns, the right answer (the better one, where there are several) last."""
    answer = Message(role="assistant", content=answer_text(example))
    return [*prompt_messages(example, template), answer]
