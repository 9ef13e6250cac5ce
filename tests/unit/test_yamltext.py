"""YAML that every parser reads alike."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ftctl.contract.yamltext import yaml_documents, yaml_text

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_what_is_written_is_read_back(value: object) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("1e3", '"1e3"', id="a-number-in-go"),
        pytest.param("0123", '"0123"', id="octal"),
        pytest.param(".5", '".5"', id="a-fraction"),
        pytest.param("0.1.0", '"0.1.0"', id="a-version"),
        pytest.param("yes", "'yes'", id="true-in-yaml-1.1"),
        pytest.param("null", "'null'", id="null"),
        pytest.param("plain", "plain", id="plain"),
    ],
)
def test_a_text_stays_a_text(text: str, want: str) -> None:
    assert yaml_text({"key": text}) == f"key: {want}\n"


def test_several_lines_are_a_block_and_nothing_is_an_alias() -> None:
    shared = ["a"]

    assert yaml_text({"text": "x\ny\n", "one": shared, "two": shared}) == (
        "text: |\n  x\n  y\none:\n- a\ntwo:\n- a\n"
    )


def test_documents_are_separated() -> None:
    assert yaml_documents([{"a": 1}, {"b": 2}]) == "---\na: 1\n---\nb: 2\n"
