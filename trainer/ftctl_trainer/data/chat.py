"""Conversations as token ids and labels, by the model's own chat template."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jinja2

from ftctl.data.example import Message
from ftctl.errors import ConfigError, DataError

# torch.nn.CrossEntropyLoss leaves this label out (its default ignore_index).
IGNORED = -100

_log = logging.getLogger(__name__)
_GENERATION_TAG = re.compile(r"{%-?\s*generation\b")
_PROBE = "Zq7"


@dataclass(frozen=True)
class Encoded:
    """A conversation; both lists have one entry a token, labels are IGNORED outside answers."""

    input_ids: list[int]
    labels: list[int]


class ChatFormat:
    """
    A tokenizer's chat template, looked into once.

    Args:
        tokenizer: a transformers tokenizer.
        assistant_only: labels for the assistant's tokens only, else for all.
    Raises:
        ConfigError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, *, assistant_only: bool = True) -> None:
        self._tokenizer, self._assistant_only = tokenizer, assistant_only
        try:
            template = str(tokenizer.get_chat_template())
        except ValueError as error:
            raise ConfigError(
                "the model's tokenizer has no chat template",
                where="model.model_name",
                hint="Use the instruct variant of the model, or add chat_template.jinja to its "
                "folder.",
            ) from error
        # Tags are found by character, and only fast tokenizers know which token has which.
        self._has_tags = tokenizer.is_fast and _GENERATION_TAG.search(template) is not None
        self._special = frozenset(tokenizer.all_special_ids) | frozenset(
            token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special
        )
        self._takes_system = self._keeps_system_text()
        if not self._takes_system:
            _log.warning(
                "the chat template has no system role: system texts go before the first user turn"
            )

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """
        Tokenize a conversation that ends with the assistant's turn.

        Raises:
            ConfigError: the template does not let the assistant's tokens be told from the others.
            DataError: the template refuses the order of the turns.
        """
        turns = self._turns(messages)
        if not self._assistant_only:
            ids = self._ids(turns)
            return Encoded(ids, list(ids))
        return self._by_tags(turns) if self._has_tags else self._by_prefix(turns)

    def text(self, messages: Sequence[Message]) -> str:
        """A whole conversation as text."""
        return str(self._apply(self._turns(messages), tokenize=False))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the turns before an answer, and of what begins the assistant's turn."""
        return self._ids(self._turns(messages), add_generation_prompt=True)

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The same as text."""
        return str(self._apply(self._turns(messages), tokenize=False, add_generation_prompt=True))

    def _by_tags(self, turns: list[dict[str, str]]) -> Encoded:
        out = self._apply(
            turns,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
        )
        ids, mask, spans = out["input_ids"], list(out["assistant_masks"]), out["offset_mapping"]
        if not any(mask):
            raise _no_mask("its generation tags mark nothing")
        for before, after in pairwise(range(len(ids))):
            if mask[before] and not mask[after] and ids[before] not in self._special:
                # transformers marks the first token alone of a last character that has several.
                # Some templates close the tag before the token that ends the turn.
                mask[after] = spans[before] == spans[after] or ids[after] in self._special
        labels = [token if kept else IGNORED for token, kept in zip(ids, mask, strict=True)]
        return Encoded(list(ids), labels)

    def _by_prefix(self, turns: list[dict[str, str]]) -> Encoded:
        ids = self._ids(turns)
        labels = [IGNORED] * len(ids)
        for position, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before = self._ids(turns[:position], add_generation_prompt=True)
            through = self._ids(turns[: position + 1]) if position + 1 < len(turns) else ids
            if ids[: len(before)] != before or ids[: len(through)] != through:
                raise _no_mask("a conversation does not begin with the tokens of its own beginning")
            end = self._end_of_turn(ids, len(before), len(through))
            labels[len(before) : end] = ids[len(before) : end]
        return Encoded(ids, labels)

    def _end_of_turn(self, ids: list[int], start: int, end: int) -> int:
        """Index after the token that ends the turn: templates put a line break behind it."""
        last = end - 1
        while last > start and ids[last] not in self._special and self._is_blank(ids[last]):
            last -= 1
        return last + 1 if ids[last] in self._special else end

    def _is_blank(self, token_id: int) -> bool:
        return not str(self._tokenizer.decode([token_id])).strip()

    def _ids(self, turns: list[dict[str, str]], **options: Any) -> list[int]:
        # Special tokens come from the template alone: no second BOS.
        out = self._apply(turns, tokenize=True, return_dict=True, **options)
        return [int(token) for token in out["input_ids"]]

    def _apply(self, turns: list[dict[str, str]], **options: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(turns, **options)
        except jinja2.TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise DataError(f"the chat template refuses the turns {roles}: {error}") from error

    def _turns(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        if self._takes_system or not turns or turns[0]["role"] != "system":
            return turns
        system, *rest = turns
        for turn in rest:
            if turn["role"] == "user":
                turn["content"] = f"{system['content']}\n\n{turn['content']}"
                break
        return rest

    def _keeps_system_text(self) -> bool:
        probe = [("system", _PROBE), ("user", "a"), ("assistant", "b")]
        turns = [{"role": role, "content": content} for role, content in probe]
        try:
            return _PROBE in self._tokenizer.apply_chat_template(turns, tokenize=False)
        except jinja2.TemplateError:
            return False


def _no_mask(reason: str) -> ConfigError:
    return ConfigError(
        f"the chat template cannot mask the assistant: {reason}",
        where="dataset.assistant_only",
        hint="Set dataset.assistant_only=false to train on all tokens.",
    )
