"""The last words of a log."""

from __future__ import annotations

import json

import pytest

from ftctl.cluster.attempts import last_error
from ftctl.cluster.logs import name_sources
from ftctl.report.loglines import as_values, readable


def line(level: str, message: str, **more: str) -> str:
    """A line as a stage prints it."""
    return json.dumps(
        {
            "time": "2026-03-01T14:00:03.250Z",
            "level": level,
            "logger": "ftctl_trainer",
            "message": message,
            **more,
        }
    )


@pytest.mark.parametrize(
    ("lines", "want"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([line("info", "training")], None, id="no-error"),
        pytest.param(
            [line("error", "a\nb"), line("warning", "c")], "a\nb", id="the-last-error-not-the-end"
        ),
        pytest.param(
            ["", "1", "2", "Killed by", "a driver"], "2\nKilled by\na driver", id="other-output"
        ),
        pytest.param(["noise", line("error", "disk full"), "more"], "disk full", id="both"),
    ],
)
def test_the_last_error_of_a_log_is_found(lines: list[str], want: str | None) -> None:
    assert last_error(lines) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(line("info", "step 4, loss 0.41"), "14:00:03 step 4, loss 0.41", id="info"),
        pytest.param(line("warning", "slow"), "14:00:03 warning: slow", id="worse"),
        pytest.param(
            line("error", "a bug", traceback="Traceback\n  x"),
            "14:00:03 error: a bug\nTraceback\n  x",
            id="a-traceback-follows",
        ),
        pytest.param("NCCL INFO ring", "NCCL INFO ring", id="not-ours"),
        pytest.param('{"a": 1}', '{"a": 1}', id="json-of-something-else"),
    ],
)
def test_a_log_line_is_written_for_people(text: str, want: str) -> None:
    assert readable(text) == want


def test_a_line_that_is_not_ours_is_a_message_alone() -> None:
    assert as_values("NCCL INFO ring") == {"message": "NCCL INFO ring"}
    assert as_values(line("info", "training")) == {
        "time": "2026-03-01T14:00:03.250000Z",
        "level": "info",
        "logger": "ftctl_trainer",
        "message": "training",
    }


def pod(name: str, stage: str, rank: str | None = None) -> dict[str, object]:
    """What is read of a pod to name it."""
    labels = {"ftctl.dev/stage": stage}
    labels |= {"batch.kubernetes.io/job-completion-index": rank} if rank else {}
    return {"metadata": {"name": name, "labels": labels}}


def test_pods_are_named_by_stage_rank_and_attempt() -> None:
    pods = [
        pod("a", "train"),
        pod("b", "train"),
        pod("c", "convert"),
        pod("d", "train", "0"),
        pod("e", "train", "1"),
        pod("f", "train", "1"),
    ]

    assert name_sources(pods) == {
        "a": "train",
        "b": "train#2",
        "c": "convert",
        "d": "train.0",
        "e": "train.1",
        "f": "train.1#2",
    }
