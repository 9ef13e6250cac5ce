"""Nodes that the profile selects have the GPUs that it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.kinds import NODE, Object
from ftctl.contract.quantity import quantity_bytes
from ftctl.doctor.finding import Context, Finding, fail, ok, warn

CHECK = "gpu"
# Set by NVIDIA's GPU feature discovery; the memory is in MiB.
_PRODUCT, _MEMORY = "nvidia.com/gpu.product", "nvidia.com/gpu.memory"
_SCALES = "A cluster that adds nodes on demand may still do so."


def check(ctx: Context) -> list[Finding]:
    """Capacity, labels and taints; memory against the profile's."""
    cluster = ctx.config.cluster
    try:
        nodes = list(ctx.cluster.list(NODE))
    except ForbiddenError as error:
        return [warn(CHECK, f"nodes may not be looked at: {error.what}", error.hint)]
    selected = [node for node in nodes if _has_labels(node, cluster.node_selector)]
    if not selected:
        asked = ", ".join(f"{key}={value}" for key, value in cluster.node_selector.items())
        return [
            fail(
                CHECK,
                f"no node has the labels of cluster.node_selector: {asked}",
                f"See `kubectl get nodes --show-labels`. {_SCALES}",
            )
        ]
    usable = [node for node in selected if not _refuses(node, cluster.tolerations)]
    if not usable:
        return [
            fail(
                CHECK,
                "every node that fits has a taint that pods do not accept: "
                f"{', '.join(_taints(selected))}",
                "Accept them in cluster.tolerations, or have them removed.",
            )
        ]
    if not cluster.gpus:
        return [ok(CHECK, f"the profile asks for no GPU; nodes that take its pods: {len(usable)}")]
    return _capacity(ctx, usable)


def _capacity(ctx: Context, nodes: Sequence[Object]) -> list[Finding]:
    cluster = ctx.config.cluster
    counts = [int(node["status"]["allocatable"].get(cluster.gpu_resource, 0)) for node in nodes]
    enough = [node for node, count in zip(nodes, counts, strict=True) if count >= cluster.gpus]
    if len(enough) < cluster.nodes:
        return [
            fail(
                CHECK,
                f"{len(enough)} nodes have {cluster.gpus} {cluster.gpu_resource} or more, and the "
                f"run needs {cluster.nodes}; the most on one node is {max(counts)}",
                "Add a GPU node with the vendor's device plugin, lower cluster.gpus, or train a "
                f"small model with cluster=cpu. {_SCALES}",
            )
        ]
    products = sorted({_label(node, _PRODUCT) for node in enough} - {""})
    named = f" ({', '.join(products)})" if products else ""
    what = f"{len(enough)} nodes have {cluster.gpus} {cluster.gpu_resource} or more{named}"
    return [ok(CHECK, what), *_memory(ctx, enough)]


def _memory(ctx: Context, nodes: Sequence[Object]) -> list[Finding]:
    """The profile's memory of a GPU against what the nodes' labels say."""
    sizes = [int(text) * 2**20 for node in nodes if (text := _label(node, _MEMORY)).isdigit()]
    asked = ctx.config.cluster.gpu_memory
    if asked is None:
        least = f"{min(sizes) // 2**30}Gi" if sizes else "80Gi"
        return [
            warn(
                CHECK,
                "the profile does not say how much memory a GPU has, so that no run is refused "
                "for needing more",
                f"Set cluster.gpu_memory, as {least}.",
            )
        ]
    if sizes and min(sizes) < quantity_bytes(asked):
        return [
            warn(
                CHECK,
                f"cluster.gpu_memory is {asked}, and a GPU there has {min(sizes) / 2**30:.1f} GiB",
                "Lower it, or select nodes by label in cluster.node_selector.",
            )
        ]
    return []


def _has_labels(node: Object, wanted: dict[str, str]) -> bool:
    return all(_label(node, key) == value for key, value in wanted.items())


def _label(node: Object, key: str) -> str:
    return str((node["metadata"].get("labels") or {}).get(key, ""))


def _refuses(node: Object, tolerations: Sequence[Object]) -> bool:
    """Whether the node takes no new pods of ours."""
    hard = [one for one in node["spec"].get("taints") or () if one["effect"] != "PreferNoSchedule"]
    return any(not any(_accepts(one, taint) for one in tolerations) for taint in hard)


def _accepts(toleration: Object, taint: Object) -> bool:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/"""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same_value = toleration.get("value", "") == taint.get("value", "")
    return bool(toleration.get("key") == taint["key"] and same_value)


def _taints(nodes: Sequence[Object]) -> list[str]:
    found = [taint for node in nodes for taint in node["spec"].get("taints") or ()]
    return sorted({f"{one['key']}={one.get('value', '')}:{one['effect']}" for one in found})
