"""What the pods of a train stage need to work as one: an address to meet at, and leave to talk."""

from __future__ import annotations

from ftctl.contract import labels
from ftctl.contract.pods import NODES, PROCESSES, RENDEZVOUS, SHARD
from ftctl.contract.runfile import RunFile
from ftctl.manifests.metadata import Manifest, metadata

STAGE = "train"
# Of the first pod; torchrun's own.
_PORT = 29500
# The Job controller gives each pod of an Indexed Job its number, since Kubernetes 1.28.
_INDEX = "batch.kubernetes.io/job-completion-index"


def group_variables(run: RunFile) -> dict[str, str]:
    """How many processes train together, and where they meet; nothing for one."""
    cluster = run.config.cluster
    found = {}
    if cluster.processes > 1:
        found[PROCESSES] = str(cluster.processes_a_node)
        if cluster.shard:
            found[SHARD] = "1"
    if cluster.nodes > 1:
        found |= {NODES: str(cluster.nodes), RENDEZVOUS: f"{_name(run)}:{_PORT}"}
    return found


def group_objects(run: RunFile) -> list[Manifest]:
    """The Service and the NetworkPolicy of several pods; nothing for one."""
    return [_service(run), _policy(run)] if run.config.cluster.nodes > 1 else []


def _name(run: RunFile) -> str:
    return f"{run.run_id}-{STAGE}"


def _service(run: RunFile) -> Manifest:
    """
    A name for the first pod, known before its Job has one: the Job is named by its content.

    The others look for the first before any of them is ready.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(run, _name(run), stage=STAGE),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {**_pods(run), _INDEX: "0"},
            "ports": [{"name": "rendezvous", "protocol": "TCP", "port": _PORT}],
        },
    }


def _policy(run: RunFile) -> Manifest:
    """The pods of the stage may open any port to one another: NCCL and gloo choose theirs."""
    others = [{"podSelector": {"matchLabels": _pods(run)}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(run, _name(run), stage=STAGE),
        "spec": {
            "podSelector": {"matchLabels": _pods(run)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": others}],
            "egress": [{"to": others}],
        },
    }


def _pods(run: RunFile) -> dict[str, str]:
    return {labels.RUN: run.run_id, labels.STAGE: STAGE}
