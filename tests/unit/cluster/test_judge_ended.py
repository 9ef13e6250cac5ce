"""How a run or an attempt ended, from recordings of a real cluster."""

from __future__ import annotations

import pytest

from ftctl.contract.clusterview import Reason
from tests.unit.cluster.recordings import reason, recorded, view

MORE_MEMORY = (
    "Give it more: cluster.resources.train.memory=... with `ftctl submit` or `ftctl resume`. "
    "The run goes on from its last checkpoint."
)
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


def test_a_pod_that_was_stopped_with_a_checkpoint_is_no_failure() -> None:
    found = recorded("storage-error")
    for pod in found["pods"]:
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 75

    stage = view(found)

    assert (stage.state, stage.reason, stage.last_failure) == ("pending", None, None)


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
