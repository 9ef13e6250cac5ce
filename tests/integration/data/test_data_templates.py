"""The layouts that come with ftctl, and how one is found."""

from pathlib import Path

import pytest

from ftctl.data.example import ActionPrompt
from ftctl.data.templates import load_template
from ftctl.errors import ConfigError
from ftctl_trainer.data.template import PromptTemplate

FOLDER = Path(__file__).parents[3] / "conf/dataset/templates"
ASK = ActionPrompt(history=["user: hi", "bot: hello"], actions=["Open", "Talk"], user_input="open")


@pytest.mark.parametrize(
    ("name", "prompt", "want"),
    [
        pytest.param(
            "actions",
            ASK,
            "Answer the user in JSON and choose one of the available actions.\n\n"
            "Conversation so far:\nuser: hi\nbot: hello\n\n"
            "Available actions: Open, Talk\n\nUser: open",
            id="actions",
        ),
        pytest.param(
            "actions",
            ActionPrompt(user_input="open"),
            "Answer the user in JSON and choose one of the available actions.\n\n"
            "Available actions: none\n\nUser: open",
            id="actions-bare",
        ),
        pytest.param("compact", ASK, "user: hi\nbot: hello\n[Open | Talk]\nopen", id="compact"),
    ],
)
def test_a_layout_renders(name: str, prompt: ActionPrompt, want: str) -> None:
    assert PromptTemplate(load_template(name, FOLDER)).render(prompt) == want


def test_every_layout_that_comes_with_ftctl_is_tested_above() -> None:
    assert sorted(file.stem for file in FOLDER.iterdir()) == ["actions", "compact"]


def test_a_path_names_a_layout_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ user_input }}", encoding="utf-8-sig")
    assert load_template("mine.jinja", FOLDER, base_dir=tmp_path) == "{{ user_input }}"
    assert load_template(str(tmp_path / "mine.jinja"), FOLDER) == "{{ user_input }}"


def test_the_first_folder_that_has_the_name_counts(tmp_path: Path) -> None:
    (tmp_path / "actions.jinja").write_text("mine: {{ user_input }}")
    assert load_template("actions", tmp_path, FOLDER) == "mine: {{ user_input }}"
    assert load_template("compact", tmp_path, FOLDER).startswith("{#")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.template: no layout 'action'") as caught:
        load_template("action", FOLDER)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Did you mean actions? Layouts: actions, compact; or")


def test_a_layout_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"mine\.jinja: the layout is not UTF-8"):
        load_template("mine.jinja", FOLDER, base_dir=tmp_path)


def test_a_layout_with_an_error_is_refused_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("a\n{{ user_input")
    with pytest.raises(ConfigError, match=r"mine\.jinja:2: syntax error in the layout"):
        load_template("mine.jinja", FOLDER, base_dir=tmp_path)
