"""Which Secrets a profile asks for, and what the environment must have for them."""

from __future__ import annotations

from typing import Any

import pytest

from ftctl.cluster.secrets import WantedSecret, require_values, wanted_secrets
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError

AWS = {
    "AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_ACCESS_KEY",
}
SESSION = {"AWS_SESSION_TOKEN": "AWS_SESSION_TOKEN"}


@pytest.mark.parametrize(
    ("sections", "wanted"),
    [
        pytest.param({}, [], id="none"),
        pytest.param(
            {"storage": {"secret": "s3"}},
            [WantedSecret("s3", "storage.secret", AWS, SESSION)],
            id="store",
        ),
        pytest.param(
            {"cluster": {"hf_secret": "hub"}},
            [WantedSecret("hub", "cluster.hf_secret", {"HF_TOKEN": "HF_TOKEN"}, {})],
            id="hub",
        ),
        pytest.param(
            {"cluster": {"hf_secret": "hub/token"}},
            [WantedSecret("hub", "cluster.hf_secret", {"token": "HF_TOKEN"}, {})],
            id="hub-at-a-key-of-its-own",
        ),
        pytest.param(
            {"other": {"hf_token": "secret:hub/token"}},
            [WantedSecret("hub", "other.hf_token", {"token": "HF_TOKEN"}, {})],
            id="hub-by-reference",
        ),
        pytest.param(
            {"other": {"hf_token": "secret:old/token"}, "cluster": {"hf_secret": "hub"}},
            [WantedSecret("hub", "cluster.hf_secret", {"HF_TOKEN": "HF_TOKEN"}, {})],
            id="the-profiles-wins",
        ),
        pytest.param(
            {"tracking": {"backend": "wandb", "secret": "wandb"}},
            [WantedSecret("wandb", "tracking.secret", {"WANDB_API_KEY": "WANDB_API_KEY"}, {})],
            id="tracker",
        ),
        pytest.param(
            {"publish": {"secret": "registry"}},
            [
                WantedSecret(
                    "registry",
                    "publish.secret",
                    {"OCI_USERNAME": "OCI_USERNAME", "OCI_PASSWORD": "OCI_PASSWORD"},
                    {},
                )
            ],
            id="registry",
        ),
        pytest.param(
            {"storage": {"secret": "all"}, "cluster": {"hf_secret": "all"}},
            [
                WantedSecret(
                    "all",
                    "storage.secret, cluster.hf_secret",
                    {**AWS, "HF_TOKEN": "HF_TOKEN"},
                    SESSION,
                )
            ],
            id="one-for-both",
        ),
    ],
)
def test_a_profile_names_its_secrets(sections: dict[str, Any], wanted: list[WantedSecret]) -> None:
    assert wanted_secrets(Config.model_validate(sections)) == wanted


def test_every_value_that_is_missing_is_named_at_once() -> None:
    sections = {
        "storage": {"secret": "s3"},
        "cluster": {"hf_secret": "hub"},
        "tracking": {"backend": "mlflow", "secret": "mlflow"},
    }
    wanted = wanted_secrets(Config.model_validate(sections))
    with pytest.raises(ConfigError) as refused:
        require_values(wanted, {"AWS_ACCESS_KEY_ID": "known", "AWS_SECRET_ACCESS_KEY": ""})
    assert refused.value.what == (
        "no value for AWS_SECRET_ACCESS_KEY, HF_TOKEN, MLFLOW_TRACKING_TOKEN or "
        "MLFLOW_TRACKING_USERNAME or MLFLOW_TRACKING_PASSWORD in the environment"
    )
    assert refused.value.where == "storage.secret, cluster.hf_secret, tracking.secret"


def test_one_of_several_ways_to_log_in_is_enough() -> None:
    sections = {"tracking": {"backend": "mlflow", "secret": "mlflow"}}
    require_values(
        wanted_secrets(Config.model_validate(sections)), {"MLFLOW_TRACKING_TOKEN": "given"}
    )
