"""Chat formats in wide use, told apart by what a model's own template makes of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Chat = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Turn:
    """What stands around the text of one role."""

    before: str
    after: str

    def render(self, text: str) -> str:
        """The turn with its text."""
        return f"{self.before}{text}{self.after}"


@dataclass(frozen=True)
class ChatFormat:
    """
    How turns become a prompt. `start` is the text of the token that begins every sequence, which
    llama.cpp and Ollama add by themselves; `system` is None where the format has no such turn.
    """

    name: str
    start: str
    turns: dict[str, Turn]
    prompt: str
    """What lets the assistant speak."""
    stop: tuple[str, ...]
    strips: bool = False
    """Whether the template removes white space around the text of a turn."""

    def render(self, chat: Chat) -> str | None:
        """The prompt of a conversation, or None where a role is not known."""
        if any(message["role"] not in self.turns for message in chat):
            return None
        turns = (
            self.turns[message["role"]].render(
                message["content"].strip() if self.strips else message["content"]
            )
            for message in chat
        )
        return self.start + "".join(turns) + self.prompt


def _headed(before: str, after: str, *roles: str) -> dict[str, Turn]:
    return {role: Turn(before.replace("ROLE", role), after) for role in roles}


_ALL = ("system", "user", "assistant")
_LLAMA3 = "<|start_header_id|>ROLE<|end_header_id|>\n\n"

FORMATS = (
    ChatFormat(
        "chatml", "", _headed("<|im_start|>ROLE\n", "<|im_end|>\n", *_ALL),
        "<|im_start|>assistant\n", ("<|im_end|>",),
    ),
    ChatFormat(
        "llama3", "<|begin_of_text|>", _headed(_LLAMA3, "<|eot_id|>", *_ALL),
        _LLAMA3.replace("ROLE", "assistant"), ("<|eot_id|>",), strips=True,
    ),
    ChatFormat(
        "phi3", "", _headed("<|ROLE|>\n", "<|end|>\n", *_ALL), "<|assistant|>\n", ("<|end|>",),
    ),
    ChatFormat(
        "zephyr", "", _headed("<|ROLE|>\n", "</s>\n", *_ALL), "<|assistant|>\n", ("</s>",),
    ),
    ChatFormat(
        "gemma", "<bos>",
        {
            "user": Turn("<start_of_turn>user\n", "<end_of_turn>\n"),
            "assistant": Turn("<start_of_turn>model\n", "<end_of_turn>\n"),
        },
        "<start_of_turn>model\n", ("<end_of_turn>",), strips=True,
    ),
    ChatFormat(
        "mistral", "<s>",
        {"user": Turn("[INST] ", "[/INST]"), "assistant": Turn(" ", "</s>")},
        "", ("[INST]", "</s>"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class KnownChat:
    """A format that renders as the model's template does, and the template's own system text."""

    format: ChatFormat
    default_system: str | None = None


def recognize(rendered: Sequence[tuple[Chat, str]]) -> KnownChat | None:
    """
    Find the format that makes exactly these texts of these conversations.

    Some templates put a system turn of their own before a conversation that has none; its text
    is returned too, if it is always the same.
    """
    for form in FORMATS:
        found = [_system_added(form, chat, text) for chat, text in rendered]
        added = {system for matches, system in found if system is not None}
        if found and all(matches for matches, _ in found) and len(added) <= 1:
            return KnownChat(form, next(iter(added), None))
    return None


def _system_added(form: ChatFormat, chat: Chat, text: str) -> tuple[bool, str | None]:
    """Whether the format makes `text` of `chat`, and with which system text of its own."""
    plain = form.render(chat)
    if plain is None:
        return False, None
    if plain == text:
        return True, None
    body, turn = plain.removeprefix(form.start), form.turns.get("system")
    if turn is None or chat[0]["role"] == "system" or not text.endswith(body):
        return False, None
    head = text.removesuffix(body).removeprefix(form.start)
    if not (head.startswith(turn.before) and head.endswith(turn.after)):
        return False, None
    return True, head.removeprefix(turn.before).removesuffix(turn.after)
