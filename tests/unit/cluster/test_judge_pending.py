"""Why a run does not start, from recordings of a real cluster, and what to do."""

from __future__ import annotations

import pytest

from ftctl.contract.clusterview import Reason, StageView
from tests.unit.cluster.recordings import reason, recorded, view

SECRETS_SET = "`ftctl secrets set` %s from your environment; the pod then starts by itself."
IMAGE_KEYS = "Correct cluster.image_train or cluster.image_convert."
LESS = "ower cluster.resources or cluster.gpus, or have the ResourceQuota raised."

PENDING = [
    (
        "no-gpu",
        reason(
            "Unschedulable",
            "no node can take the pod: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu; "
            "asked for nvidia.com/gpu 1",
            "No node has that many nvidia.com/gpu free: wait for one, lower cluster.gpus, add a "
            "GPU node (with the vendor's device plugin), or train a small model with cluster=cpu.",
        ),
    ),
    (
        "no-cpu",
        reason(
            "Unschedulable",
            "no node can take the pod: 0/1 nodes are available: 1 Insufficient cpu; "
            "asked for cpu 64",
            "Lower cluster.resources.train.cpu, or add a larger node.",
        ),
    ),
    (
        "selector",
        reason(
            "Unschedulable",
            "no node can take the pod: 0/1 nodes are available: 1 node(s) didn't match Pod's node "
            "affinity/selector",
            "No node has the labels of cluster.node_selector "
            "(nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3): `kubectl get nodes --show-labels`.",
        ),
    ),
    (
        "no-claim",
        reason(
            "NoClaim",
            "there is no volume claim models",
            "Create it, or set cluster.cache.kind=none.",
        ),
    ),
    (
        "missing-image",
        reason(
            "NoImage",
            "there is no image registry.example/none/ftctl-train:1",
            "Build and push it (`make images`), or set cluster.image_train and "
            "cluster.image_convert to images that are there.",
        ),
    ),
    (
        "private-image",
        reason(
            "ImagePrivate",
            "the registry does not give out the image registry.example/private/ftctl-train:1: it "
            "is private, or there is none; and no pull secret is given",
            "Create a Secret of type docker-registry and name it in cluster.image_pull_secrets, "
            "or correct cluster.image_train / image_convert.",
        ),
    ),
    (
        "no-image",
        reason(
            "ImagePull",
            "the image registry.example/ftctl-train:nope cannot be pulled: "
            '"registry.example/ftctl-train:nope": failed to do request: Head '
            '"https://registry.example/v2/ftctl-train/manifests/nope": dial tcp 192.0.2.10:443: '
            "connect: connection refused",
            "Check that the nodes reach the registry, and cluster.image_train / image_convert. "
            "It is tried again.",
        ),
    ),
    (
        "bad-image",
        reason(
            "InvalidImageName",
            "the image 'Bad Image' cannot be used: Failed to apply default image tag \"Bad "
            'Image": couldn\'t parse image name "Bad Image": invalid reference format: '
            "repository name (library/Bad Image) must be lowercase",
            IMAGE_KEYS,
        ),
    ),
    (
        "never-image",
        reason(
            "ErrImageNeverPull",
            "the image 'ftctl-train:none' cannot be used: Container image \"ftctl-train:none\" is "
            "not present with pull policy of Never",
            IMAGE_KEYS,
        ),
    ),
    (
        "no-secret",
        reason(
            "NoSecret",
            "there is no Secret s3-keys in the namespace team-a",
            SECRETS_SET % "makes it",
        ),
    ),
    (
        "no-key",
        reason(
            "NoSecretKey",
            "the Secret team-a/present has no key HF_TOKEN",
            SECRETS_SET % "writes it",
        ),
    ),
    (
        "no-config",
        reason(
            "FailedMount",
            'a volume cannot be mounted: configmap "gone" not found',
            "`ftctl resume` creates again what belongs to the run.",
        ),
    ),
    (
        "no-sandbox",
        reason(
            "FailedCreatePodSandBox",
            "the node node-1 cannot start pods: rpc error: code = Unknown desc = failed to get "
            'sandbox image "localhost/pause:1": failed to pull image "localhost/pause:1": failed '
            'to pull and unpack image "localhost/pause:1": failed to resolve reference '
            '"localhost/pause:1": failed to do request: Head '
            '"http://localhost/v2/pause/manifests/1": dial tcp 127.0.0.1:80: connect: '
            "connection refused",
            "Have the node repaired, or keep off it with cluster.node_selector. It is tried again.",
        ),
    ),
    (
        "no-account",
        reason(
            "NoServiceAccount",
            "there is no service account team-a/ghost",
            "Create it, or leave cluster.service_account at null: then the run makes its own.",
        ),
    ),
    (
        "pod-security",
        reason(
            "PodSecurity",
            "the namespace enforces Pod Security restricted:latest: host namespaces "
            "(hostNetwork=true)",
            "Take out of the profile what it forbids (a hostPath cache, for example), or use "
            "another namespace: cluster.namespace=...",
        ),
    ),
    (
        "quota-never",
        reason(
            "QuotaExceeded",
            "the quota gpu-team does not allow it: requested requests.memory=32Gi, used "
            "requests.memory=100Mi, limited to requests.memory=256Mi",
            f"L{LESS}",
        ),
    ),
    (
        "quota-used",
        reason(
            "QuotaExceeded",
            "the quota gpu-team does not allow it: requested requests.memory=200Mi, used "
            "requests.memory=100Mi, limited to requests.memory=256Mi",
            f"It starts by itself when enough of others has ended; or l{LESS}",
        ),
    ),
]


@pytest.mark.parametrize(("case", "why"), [pytest.param(*row, id=row[0]) for row in PENDING])
def test_a_run_that_does_not_start_says_why_and_what_to_do(case: str, why: Reason) -> None:
    found = recorded(case)
    pod = found["pods"][0] if found["pods"] else None

    assert view(found) == StageView(
        stage="train",
        job=found["jobs"][0]["metadata"]["name"],
        state="pending",
        reason=why,
        pod=pod and pod["metadata"]["name"],
        node=pod and pod["spec"].get("nodeName"),
        memory_limit=pod and pod["spec"]["containers"][0]["resources"]["limits"]["memory"],
    )
