"""What is checked of a profile and its URLs before a cluster is asked."""

from __future__ import annotations

import pytest

from ftctl.commands.resubmit import changed_profile
from ftctl.contract.operational import ClusterConfig, StorageConfig
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError, UsageError
from ftctl.runs.endpoints import refuse_loopback


@pytest.mark.parametrize(
    "url", ["http://localhost:8333", "https://127.0.0.1:9000", "http://[::1]:8333"]
)
def test_a_server_on_this_machine_is_refused(url: str) -> None:
    config = Config(storage=StorageConfig(endpoint_url=url))

    with pytest.raises(ConfigError, match="is this machine, and in a pod it is the pod") as caught:
        refuse_loopback(config)
    assert caught.value.where == "storage.endpoint_url"


@pytest.mark.parametrize("url", [None, "https://s3.example", "http://10.0.0.7:8333"])
def test_a_server_elsewhere_is_not(url: str | None) -> None:
    assert refuse_loopback(Config(storage=StorageConfig(endpoint_url=url))) is None  # type: ignore[func-returns-value]


def test_a_profile_is_changed_by_overrides() -> None:
    had = ClusterConfig(namespace="ml", gpus=1)

    changed = changed_profile(had, ["cluster.resources.train.memory=64Gi", "cluster.gpus=0"])

    assert changed.resources.train.memory == "64Gi"
    assert changed == had.model_copy(update={"gpus": 0, "resources": changed.resources})


@pytest.mark.parametrize(
    ("override", "error", "match"),
    [
        pytest.param("cluster.namespace=other", UsageError, "stays in its namespace", id="moved"),
        pytest.param("cluster.gpu=1", ConfigError, "Extra inputs", id="mistyped"),
        pytest.param("cluster.gpus=-1", ConfigError, "greater than or equal to 0", id="range"),
        pytest.param("cluster.nothing.memory=1Gi", ConfigError, "no key nothing", id="no-section"),
    ],
)
def test_a_profile_takes_only_what_it_has(
    override: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        changed_profile(ClusterConfig(), [override])
