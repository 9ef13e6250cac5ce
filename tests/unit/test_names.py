"""Names of objects: short enough, and made of their content."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftctl.contract.names import DNS_LABEL_LENGTH, object_name, run_id

SHA = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.mark.parametrize(
    ("part", "spec", "want"),
    [
        pytest.param("train", {"a": 1, "b": [True]}, "demo-0123456789ab-train-90edd", id="stage"),
        pytest.param("train", {"b": [True], "a": 1}, "demo-0123456789ab-train-90edd", id="order"),
        pytest.param("train", {"a": 2, "b": [True]}, "demo-0123456789ab-train-e7cde", id="value"),
        pytest.param("config", "", "demo-0123456789ab-config-12ae3", id="text"),
    ],
)
def test_the_digits_are_of_the_content(part: str, spec: object, want: str) -> None:
    assert object_name("demo-0123456789ab", part, spec) == want


@given(name=st.text(min_size=1).map(lambda text: f"r{text}"), digest=SHA, spec=st.text())
def test_the_longest_name_and_its_pods_suffix_fit_into_a_label(
    name: str, digest: str, spec: str
) -> None:
    made = object_name(run_id(name, digest), "convert", spec)

    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) + len("-abcde") <= DNS_LABEL_LENGTH
