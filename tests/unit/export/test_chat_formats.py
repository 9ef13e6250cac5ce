"""Chat formats are recognized by what they render, and become Ollama's templates."""

from __future__ import annotations

import pytest

from ftctl_trainer.export.chat_formats import FORMATS, KnownChat, recognize
from ftctl_trainer.export.modelfile import go_template, modelfile

BY_NAME = {form.name: form for form in FORMATS}
USER = [{"role": "user", "content": "Hi"}]
TURNS = [*USER, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Bye"}]
SYSTEM = [{"role": "system", "content": "Be brief."}, *USER]
CHATML = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("name", BY_NAME)
def test_a_format_is_recognized_by_its_own_rendering(name: str) -> None:
    form = BY_NAME[name]
    texts = [(chat, str(form.render(chat))) for chat in (USER, TURNS)]

    assert recognize(texts) == KnownChat(form)


def test_a_system_turn_that_the_template_adds_is_taken_out() -> None:
    added = "<|im_start|>system\nYou are kind.<|im_end|>\n"
    with_system = BY_NAME["chatml"].render(SYSTEM)

    found = recognize([(USER, added + CHATML), (SYSTEM, str(with_system))])

    assert found == KnownChat(BY_NAME["chatml"], "You are kind.")


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([(USER, "### User: Hi\n### Assistant: ")], id="another-format"),
        pytest.param([(USER, CHATML), (TURNS, CHATML)], id="only-some-fit"),
        pytest.param([(USER, f"Preface.\n{CHATML}")], id="text-before-is-no-system-turn"),
        pytest.param([], id="nothing-rendered"),
    ],
)
def test_what_fits_no_format_is_not_guessed(texts: list[tuple[list[dict[str, str]], str]]) -> None:
    assert recognize(texts) is None


def test_a_modelfile_has_the_template_its_stop_words_and_the_shared_system_text() -> None:
    text = modelfile(["a-Q4_1.gguf"], KnownChat(BY_NAME["chatml"], "Default."), "Be brief.")

    assert text == (
        "FROM ./a-Q4_1.gguf\n"
        'TEMPLATE """{{ range .Messages }}'
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        '{{ end }}{{ end }}<|im_start|>assistant\n"""\n'
        'PARAMETER stop "<|im_end|>"\n'
        'SYSTEM """Be brief."""\n'
    )


def test_the_templates_own_system_text_stands_in_where_rows_share_none() -> None:
    text = modelfile(["a.gguf"], KnownChat(BY_NAME["chatml"], "Default."), None)

    assert text.endswith('SYSTEM """Default."""\n')


def test_an_unknown_format_leaves_the_template_to_the_gguf() -> None:
    assert modelfile(["a.gguf"], None, 'Say """ no more') == (
        "FROM ./a.gguf\n# No TEMPLATE: Ollama takes the chat template that the GGUF itself has.\n"
    )


def test_the_first_token_is_left_to_ollama() -> None:
    assert "<|begin_of_text|>" not in go_template(BY_NAME["llama3"])
