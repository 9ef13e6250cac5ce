"""What is said of nodes, as the API describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ftctl.cluster.kinds import NODE, Kind, Object
from ftctl.contract.spec import Config
from ftctl.doctor import gpus
from ftctl.doctor.finding import Context, Finding, fail, ok, warn

TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
SCALES = "A cluster that adds nodes on demand may still do so."


def node(count: int = 0, labels: dict[str, str] | None = None, *taints: Object) -> Object:
    """A node with so many GPUs."""
    return {
        "metadata": {"name": "node", "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": "8", "nvidia.com/gpu": str(count)}},
    }


class Listing:
    """The nodes of a cluster of hundreds of them stand in here; nothing else is asked."""

    def __init__(self, nodes: list[Object]) -> None:
        self.nodes = nodes

    def list(self, kind: Kind, *_: Any, **__: Any) -> Iterator[Object]:
        assert kind is NODE
        return iter(self.nodes)


def check(nodes: list[Object], **cluster: Any) -> list[Finding]:
    """What is found under a profile."""
    config = Config.model_validate({"cluster": {"gpu_memory": "79Gi", **cluster}})
    context: Any = Context(config, Listing(nodes), {})  # type: ignore[arg-type]
    return gpus.check(context)


def test_capacity_and_products_are_named() -> None:
    assert check([node(8, H100), node(8, H100), node()]) == [
        ok("gpu", "2 nodes have 1 nvidia.com/gpu or more (NVIDIA-H100-80GB-HBM3)")
    ]


def test_a_taint_counts_unless_it_is_accepted() -> None:
    tainted = [node(1, H100, TAINT)]
    assert check(tainted) == [
        fail(
            "gpu",
            "every node that fits has a taint that pods do not accept: "
            "nvidia.com/gpu=present:NoSchedule",
            "Accept them in cluster.tolerations, or have them removed.",
        )
    ]


@pytest.mark.parametrize(
    "toleration",
    [
        pytest.param({"operator": "Exists"}, id="all"),
        pytest.param({"key": "nvidia.com/gpu", "operator": "Exists"}, id="its-key"),
        pytest.param(TAINT, id="its-value"),
        pytest.param({"key": "nvidia.com/gpu", "value": "present"}, id="every-effect"),
    ],
)
def test_tolerations_that_accept_it(toleration: Object) -> None:
    assert check([node(1, H100, TAINT)], tolerations=[toleration])[0].status == "ok"


@pytest.mark.parametrize(
    "toleration",
    [
        pytest.param({**TAINT, "value": "other"}, id="another-value"),
        pytest.param({**TAINT, "effect": "NoExecute"}, id="another-effect"),
        pytest.param({"key": "other", "operator": "Exists"}, id="another-key"),
    ],
)
def test_tolerations_that_do_not(toleration: Object) -> None:
    assert check([node(1, H100, TAINT)], tolerations=[toleration])[0].status == "fail"


def test_a_taint_that_is_a_wish_does_not_count() -> None:
    wish = {**TAINT, "effect": "PreferNoSchedule"}
    assert check([node(1, H100, wish)])[0].status == "ok"


def test_too_few_gpus_on_a_node_are_not_enough() -> None:
    assert check([node(2, H100), node(2, H100)], gpus=4) == [
        fail(
            "gpu",
            "0 nodes have 4 nvidia.com/gpu or more, and the run needs 1; the most on one node is 2",
            "Add a GPU node with the vendor's device plugin, lower cluster.gpus, or train a small "
            f"model with cluster=cpu. {SCALES}",
        )
    ]


def test_a_profile_that_does_not_know_its_gpus_memory_is_told_it() -> None:
    assert check([node(1, H100)], gpu_memory=None)[1] == warn(
        "gpu",
        "the profile does not say how much memory a GPU has, so that no run is refused for needing "
        "more",
        "Set cluster.gpu_memory, as 79Gi.",
    )


def test_a_profile_that_promises_too_much_memory_is_corrected() -> None:
    smaller = {**H100, "nvidia.com/gpu.memory": "40960"}
    assert check([node(1, smaller)])[1] == warn(
        "gpu",
        "cluster.gpu_memory is 79Gi, and a GPU there has 40.0 GiB",
        "Lower it, or select nodes by label in cluster.node_selector.",
    )


def test_a_run_without_gpus_needs_any_node() -> None:
    assert check([node(), node()], gpus=0) == [
        ok("gpu", "the profile asks for no GPU; nodes that take its pods: 2")
    ]
