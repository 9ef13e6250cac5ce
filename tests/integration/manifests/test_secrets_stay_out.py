"""No value of a secret is in anything that is rendered, wherever it comes from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ftctl.app import app

PLACE = ["experiment=smoke", "cluster=cpu", "storage.url=s3://bucket/runs"]
VARIABLES = (
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "WANDB_API_KEY",
)
# Long enough not to be in a digest or a name by chance.
VALUES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP0123456789+/", min_size=24, max_size=60)
REFERENCES = [
    "other.hf_token=${oc.env:HF_TOKEN,null}",
    "cluster.hf_secret=hub",
    "storage.secret=s3-keys",
    "tracking.secret=tracker",
]


@settings(max_examples=8, deadline=None)
@given(secrets=st.lists(VALUES, min_size=len(VARIABLES), max_size=len(VARIABLES), unique=True))
def test_no_secret_of_the_environment_is_rendered(secrets: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(VARIABLES, secrets, strict=True):
            patch.setenv(name, value)
        done = CliRunner().invoke(app, ["render", *PLACE, *REFERENCES, "--json"])

    assert done.exit_code == 0, done.stderr
    assert {body["kind"] for body in json.loads(done.stdout)["items"]} >= {"ConfigMap", "Job"}
    for secret in secrets:
        assert secret not in done.output


@pytest.mark.parametrize(
    "override",
    [
        "other.hf_token=hf_abcdefghijklmnopqrstuvwxyz",
        "cluster.env.WANDB_API_KEY=abcdefghijklmnop",
        "cluster.proxy=http://me:abcdefghijklmnop@proxy:3128",
        "storage.endpoint_url=https://me:abcdefghijklmnop@s3",
        "cluster.env.A=${oc.env:AWS_SECRET_ACCESS_KEY}",
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_not_shown(
    override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcdefghijklmnop")

    done = CliRunner().invoke(app, ["render", *PLACE, override])

    assert (done.exit_code, done.stdout) == (3, "")
    assert "abcdefghijklmnop" not in done.stderr


def test_a_private_key_beside_certificates_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nabcdefghij\n")

    done = CliRunner().invoke(app, ["render", *PLACE, f"cluster.ca_bundle={file}"])

    assert (done.exit_code, done.stdout) == (3, "")
    assert "has a private key beside its certificates" in done.stderr
    assert "abcdefghij" not in done.stderr
    assert os.listdir(tmp_path) == ["both.pem"]
