"""Places in a registry, as people write them."""

from __future__ import annotations

import pytest

from ftctl.contract.ocireference import OciReference, oci_reference


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("r.io/ml/bot", OciReference("https", "r.io", "ml/bot", None), id="plain"),
        pytest.param(
            "oci://r.io:5000/bot:v1", OciReference("https", "r.io:5000", "bot", "v1"), id="port-tag"
        ),
        pytest.param(
            "http://localhost:5000/a/b-c/d:x",
            OciReference("http", "localhost:5000", "a/b-c/d", "x"),
            id="without-tls",
        ),
    ],
)
def test_a_reference_is_read(text: str, want: OciReference) -> None:
    assert oci_reference(text) == want


@pytest.mark.parametrize("text", ["bot", "r.io/", "r.io/Bot", "r.io/bot:", "r.io/bot@sha256:0"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no place in a registry"):
        oci_reference(text)
