"""What a cluster shows of a run, recorded from a real one (Kubernetes 1.35), and what it means."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ftctl.cluster.judge import judge
from ftctl.cluster.observed import Observed
from ftctl.contract.clusterview import ClusterView, Reason, StageView

RECORDED = Path(__file__).parent / "recorded"
NEEDS = {"train": "0.2 GiB"}


def recorded(case: str) -> dict[str, Any]:
    """Jobs, pods, events and logs of one run."""
    loaded: dict[str, Any] = json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))
    return loaded


def view(found: dict[str, Any]) -> StageView:
    """What is made of the only stage that was recorded."""
    [stage] = judge("team-a", Observed(**found, needs=NEEDS)).stages
    return stage


def reason(code: str, what: str, hint: str | None = None) -> Reason:
    return Reason(code=code, what=what, hint=hint)


SECRETS_SET = "`ftctl secrets set` %s from your environment; the pod then starts by itself."
IMAGE_KEYS = "Correct cluster.image_train or cluster.image_convert."
MORE_MEMORY = (
    "Give it more: cluster.resources.train.memory=... with `ftctl submit` or `ftctl resume`. "
    "The run goes on from its last checkpoint."
)
LESS = "ower cluster.resources or cluster.gpus, or have the ResourceQuota raised."
OOM = reason(
    "OOMKilled",
    "out of memory: it needed more than its limit of 32Mi; the estimate is 0.2 GiB",
    MORE_MEMORY,
)
WRONG_KEY = reason(
    "Exit5",
    "exit code 5 (storage): s3://ml/runs/lease.json: the server does not know the access key "
    "(InvalidAccessKeyId, https://s3.example)",
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.profile.",
)
NO_START = reason(
    "StartError",
    'the container could not start: unable to start container process: exec: "/nope": '
    "stat /nope: no such file or directory",
    "Check that the image is one of ftctl's (`make images`), for this architecture.",
)
BUG = reason(
    "Exit1",
    "exit code 1 (a bug): Traceback (most recent call last):\nFile x\nRuntimeError: boom",
)

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

# case: state, reason, what of the last failure stands apart, failures, exit code
ENDED: list[tuple[str, str, Reason | None, Reason | None, int, int | None]] = [
    ("done", "succeeded", None, None, 0, None),
    ("oom", "failed", OOM, OOM, 1, 137),
    ("oom-retrying", "retrying", OOM, OOM, 3, 137),
    (
        "config-error",
        "failed",
        reason("Exit3", "exit code 3 (config or data): model.lora_r: is 0", "Set it to 1 or more."),
        reason("Exit3", "exit code 3 (config or data): model.lora_r: is 0", "Set it to 1 or more."),
        1,
        3,
    ),
    ("storage-error", "retrying", WRONG_KEY, WRONG_KEY, 3, 5),
    (
        "no-command",
        "failed",
        NO_START.model_copy(update={"what": f"4 attempts failed, the last: {NO_START.what}"}),
        NO_START,
        4,
        128,
    ),
    ("bug", "failed", BUG, BUG, 1, 1),
    (
        "deadline",
        "failed",
        reason(
            "DeadlineExceeded",
            "it took longer than the 3 s it may",
            "`ftctl resume` starts it again; it goes on from its last checkpoint.",
        ),
        None,
        1,
        None,
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


@pytest.mark.parametrize(
    ("case", "state", "why", "last", "failures", "code"),
    [pytest.param(*row, id=row[0]) for row in ENDED],
)
def test_a_run_that_ended_says_how(
    case: str,
    state: str,
    why: Reason | None,
    last: Reason | None,
    failures: int,
    code: int | None,
) -> None:
    found = recorded(case)
    pods = sorted(found["pods"], key=lambda pod: pod["metadata"]["creationTimestamp"])
    pod = pods[-1] if pods else None

    assert view(found).model_dump() == {
        "stage": "train",
        "job": found["jobs"][0]["metadata"]["name"],
        "state": state,
        "reason": why.model_dump() if why else None,
        "pod": pod and pod["metadata"]["name"],
        "node": "node-1" if pod else None,
        "failures": failures,
        "last_failure": last.model_dump() if last else None,
        "exit_code": code,
        "memory_limit": "32Mi" if pod else None,
    }


@pytest.mark.parametrize(
    ("case", "state"),
    [
        pytest.param("running", "running", id="running"),
        pytest.param("disrupted", "running", id="a-pod-that-followed-an-evicted-one"),
        pytest.param("waiting", "waiting", id="a-stage-behind-another"),
    ],
)
def test_a_run_that_goes_on_needs_no_reason(case: str, state: str) -> None:
    found = view(recorded(case))

    assert (found.state, found.reason, found.last_failure, found.failures) == (
        state,
        None,
        None,
        0,
    )


def test_a_job_that_is_being_deleted_is_stopping() -> None:
    found = recorded("running")
    found["jobs"][0]["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"

    assert view(found).state == "stopping"


def test_a_suspended_job_waits_for_a_queue() -> None:
    found = view(recorded("suspended"))

    assert (found.state, found.reason) == (
        "queued",
        reason(
            "Suspended",
            "the Job is suspended",
            "A queue (cluster.queue) starts it when it is its turn.",
        ),
    )


def test_a_pod_that_was_stopped_with_a_checkpoint_is_no_failure() -> None:
    found = recorded("storage-error")
    for pod in found["pods"]:
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 75

    stage = view(found)

    assert (stage.state, stage.reason, stage.last_failure) == ("pending", None, None)


def test_the_newest_job_of_a_stage_counts() -> None:
    found = recorded("running")
    older = copy.deepcopy(recorded("oom")["jobs"][0])
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    found["jobs"].append(older)

    assert view(found).state == "running"


def test_an_attempt_that_failed_stays_known_while_the_next_one_runs() -> None:
    found = recorded("storage-error")
    running = recorded("running")["pods"][0]
    running["metadata"]["labels"] = found["pods"][0]["metadata"]["labels"]
    running["metadata"]["creationTimestamp"] = "2026-12-31T00:00:00Z"
    found["pods"].append(running)

    stage = view(found)

    assert (stage.state, stage.reason, stage.last_failure) == ("running", None, WRONG_KEY)


def test_the_status_of_a_pod_tells_its_last_words_when_the_log_is_gone() -> None:
    found = recorded("config-error")
    [pod] = found["pods"]
    [lines] = found["logs"].values()
    found["logs"] = {}
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = "\n".join(lines)

    assert view(found).reason == reason(
        "Exit3", "exit code 3 (config or data): model.lora_r: is 0", "Set it to 1 or more."
    )


def test_nothing_in_the_cluster_is_no_stages() -> None:
    assert judge("team-a", Observed()) == ClusterView(namespace="team-a")
