"""What is checked of a profile and its URLs before a cluster is asked."""

from __future__ import annotations

import pytest

from ftctl.commands.resubmit import resumed_profile
from ftctl.contract.operational import (
    ClusterConfig,
    ResourcesConfig,
    StageResources,
    StorageConfig,
)
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


HAD = ClusterConfig(namespace="ml", gpus=1, env={"A": "1"}, queue="runs")
# As composed from the profile that is named now: other values than the run's stand beside.
NAMED = ClusterConfig(
    namespace="default",
    gpus=0,
    env={"B": "2"},
    node_selector={"zone": "a"},
    node_selector_convert={"zone": "b"},
    resources=StageResources(train=ResourcesConfig(memory="64Gi")),
)


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(["storage=s3", "storage.url=s3://b/p"], {}, id="not-of-the-profile"),
        pytest.param(["cluster.gpus=0"], {"gpus": 0}, id="a-key"),
        pytest.param(
            ["cluster.resources.train.memory=64Gi"], {"resources": NAMED.resources}, id="deep"
        ),
        pytest.param(
            ["cluster.node_selector={zone:a}"], {"node_selector": {"zone": "a"}}, id="a-mapping"
        ),
        pytest.param(["+cluster.env.B=2"], {"env": {"A": "1", "B": "2"}}, id="added"),
        pytest.param(["~cluster.env.A"], {"env": {}}, id="removed"),
        pytest.param(
            ["cluster.node_selector_convert.zone=b"],
            {"node_selector_convert": {"zone": "b"}},
            id="where-there-was-no-mapping",
        ),
    ],
)
def test_a_resumed_run_keeps_its_profile_but_for_what_is_set(
    overrides: list[str], changes: dict[str, object]
) -> None:
    assert resumed_profile(HAD, NAMED, overrides) == HAD.model_copy(update=changes)


def test_a_profile_that_is_chosen_anew_replaces_all_but_the_place() -> None:
    found = resumed_profile(HAD, NAMED, ["cluster=cpu", "cluster.gpus=0"])

    assert found == NAMED.model_copy(update={"namespace": "ml"})


def test_a_profile_that_is_chosen_anew_keeps_the_disk_that_it_does_not_name() -> None:
    sized = StageResources(
        train=ResourcesConfig(ephemeral_storage="20Gi"),
        convert=ResourcesConfig(ephemeral_storage="30Gi"),
    )
    named = NAMED.model_copy(
        update={"resources": StageResources(train=ResourcesConfig(ephemeral_storage="50Gi"))}
    )

    found = resumed_profile(HAD.model_copy(update={"resources": sized}), named, ["cluster=cpu"])

    assert found.resources.train.ephemeral_storage == "50Gi"
    assert found.resources.convert.ephemeral_storage == "30Gi"


@pytest.mark.parametrize("override", ["cluster.namespace=other", "++cluster.context=prod"])
@pytest.mark.parametrize("chosen", [[], ["cluster=cpu"]])
def test_a_run_stays_where_it_is(override: str, chosen: list[str]) -> None:
    with pytest.raises(UsageError, match="stays in its namespace"):
        resumed_profile(HAD, NAMED, [*chosen, override])
