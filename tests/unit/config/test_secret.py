import os

import pytest

from ftctl.config.secret import (
    redact,
    redact_override,
    secrets_in,
    token_reference,
    use_hub_token,
)
from ftctl.errors import ConfigError

TOKEN = "hf_" + "Ab1" * 8


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        pytest.param(None, None, id="null"),
        pytest.param("", None, id="empty"),
        pytest.param("None", None, id="the-text-none"),
        pytest.param("${oc.env:HF_TOKEN,null}", "${oc.env:HF_TOKEN,null}", id="with-null"),
        pytest.param("${oc.env:MY_TOKEN}", "${oc.env:MY_TOKEN}", id="another-variable"),
        pytest.param("${oc.env:HF_TOKEN,''}", "${oc.env:HF_TOKEN,''}", id="empty-default"),
        pytest.param("secret:hub/token", "secret:hub/token", id="kubernetes-secret"),
    ],
)
def test_a_reference_to_a_token_is_kept_as_it_is(raw: object, want: str | None) -> None:
    assert token_reference(raw, where=None) == want


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(TOKEN, id="literal"),
        pytest.param("anything", id="any-text"),
        pytest.param(f"${{oc.env:HF_TOKEN,{TOKEN}}}", id="literal-as-a-default"),
        pytest.param(f"{TOKEN}${{oc.env:HF_TOKEN}}", id="literal-before-a-reference"),
        pytest.param(12345, id="number"),
    ],
)
def test_a_literal_token_is_refused_and_not_shown(raw: object) -> None:
    with pytest.raises(ConfigError, match=r"other\.hf_token holds a literal value") as caught:
        token_reference(raw, where="mine.yaml")
    assert caught.value.where == "mine.yaml"
    assert str(raw) not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(f"bad {TOKEN}!", "bad ***!", id="hub-token"),
        pytest.param("http://me:pw@host/x", "http://***@host/x", id="password-in-an-address"),
        pytest.param("other.hf_token", "other.hf_token", id="the-name-of-the-key"),
        pytest.param("hf_datasets/train.json", "hf_datasets/train.json", id="a-folder"),
    ],
)
def test_redact(text: str, want: str) -> None:
    assert redact(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param("other.hf_token=x", "other.hf_token=***", id="short-token"),
        pytest.param("+a.api_key=x=y", "+a.api_key=***", id="any-key-with-a-secret-name"),
        pytest.param("testing.max_new_tokens=8", "testing.max_new_tokens=8", id="tokens-counted"),
        pytest.param("storage.secret=keys", "storage.secret=keys", id="name-of-a-secret"),
        pytest.param("+storage.secret=keys", "+storage.secret=keys", id="name-of-one-added"),
        pytest.param(
            "other.hf_token=${oc.env:HF_TOKEN,null}",
            "other.hf_token=${oc.env:HF_TOKEN,null}",
            id="reference",
        ),
    ],
)
def test_redact_override(text: str, want: str) -> None:
    assert redact_override(text) == want


def test_values_that_hold_or_would_hold_a_secret_are_found() -> None:
    raw = {
        "other": {"hf_token": "${oc.env:HF_TOKEN,null}"},
        "name": "${oc.env:WANDB_API_KEY}",
        "cluster": {"proxy": "http://me:pw@host", "env": {"MY_SECRET": "x", "A": "b"}},
        "tracking": {"tags": [TOKEN, "plain"]},
        "storage": {"url": "${oc.env:FTCTL_STORE_URL}", "secret": "keys"},
    }
    assert list(secrets_in(raw)) == [
        ("name", "would be filled with the secret in $WANDB_API_KEY"),
        ("cluster.proxy", "has a password in its address"),
        ("cluster.env.MY_SECRET", "is a secret by its name"),
        ("tracking.tags", "looks like a token"),
    ]


@pytest.mark.parametrize(
    ("reference", "token"),
    [
        pytest.param(None, "one", id="no-reference"),
        pytest.param("${oc.env:MINE,null}", "two", id="a-variable"),
        pytest.param("${oc.env:NOT_SET}", "one", id="a-variable-that-is-not-set"),
        pytest.param("secret:hub/token", "one", id="a-secret-of-the-cluster"),
    ],
)
def test_the_hub_reads_the_token_that_is_referred_to(
    monkeypatch: pytest.MonkeyPatch, reference: str | None, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "one")
    monkeypatch.setenv("MINE", "two")

    use_hub_token(reference)

    assert os.environ["HF_TOKEN"] == token


def test_without_a_token_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)

    use_hub_token("${oc.env:NOT_SET,null}")

    assert "HF_TOKEN" not in os.environ
