"""Which runs have nothing more to do in a cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ftctl.cluster.ended import EndedRun, ended_run, ended_runs, has_ended
from ftctl.contract.labels import run_labels
from ftctl.errors import ClusterError
from tests.unit.cluster.memory_api import memory_cluster

RUN = "bot-0123456789ab"
MADE, ENDED = "2026-03-01T14:00:00Z", "2026-03-01T15:00:00Z"


def config() -> dict[str, Any]:
    return made("ConfigMap", f"{RUN}-config", None)


def job(stage: str, end: str | None = None, *, ready: int = 0, at: str = MADE) -> dict[str, Any]:
    """A Job that ended by the condition `end`, or goes on."""
    conditions = [{"type": end, "status": "True", "lastTransitionTime": ENDED}] if end else []
    body = made("Job", f"{RUN}-{stage}-{at[11:13]}", stage, at)
    return {**body, "status": {"conditions": conditions, "ready": ready}}


def made(kind: str, name: str, stage: str | None, at: str = MADE) -> dict[str, Any]:
    labels = run_labels(RUN, stage)
    meta = {"name": name, "namespace": "ml", "labels": labels, "creationTimestamp": at}
    return {"kind": kind, "metadata": meta}


@pytest.mark.parametrize(
    ("jobs", "want"),
    [
        pytest.param([job("train", "Complete"), job("convert", "Complete")], True, id="done"),
        pytest.param([job("train", "Complete"), job("convert", "Failed")], True, id="failed"),
        pytest.param([], True, id="jobs-are-gone"),
        pytest.param([job("train"), job("convert")], False, id="trains"),
        pytest.param([job("train", "Complete"), job("convert", ready=1)], False, id="converts"),
        pytest.param([job("train", "Complete"), job("convert")], False, id="between-attempts"),
        pytest.param(
            [job("train", "Failed"), job("convert")], True, id="convert-waits-for-a-failed-train"
        ),
        pytest.param(
            [job("train", "Failed"), job("convert", ready=1)], False, id="handed-over-before"
        ),
        pytest.param(
            [job("train", "Failed"), job("train", at="2026-03-01T16:00:00Z"), job("convert")],
            False,
            id="trains-again",
        ),
    ],
)
def test_a_run_has_ended_when_no_job_of_it_has_anything_to_do(
    jobs: list[dict[str, Any]], want: bool
) -> None:
    cluster = memory_cluster(config(), *jobs)

    assert has_ended(cluster, "ml", RUN) is want
    found = ended_runs(cluster, "ml", before=datetime(2026, 3, 2, tzinfo=UTC))
    assert [run.run_id for run in found] == ([RUN] if want else [])
    if not want:
        with pytest.raises(ClusterError, match="the run has not ended in the cluster"):
            ended_run(cluster, "ml", RUN)


def test_a_run_of_which_nothing_is_there_is_none() -> None:
    assert ended_run(memory_cluster(), "ml", RUN) is None
    assert has_ended(memory_cluster(), "ml", RUN) is False


def test_what_ended_later_is_not_asked_for_yet() -> None:
    cluster = memory_cluster(config(), job("train", "Failed"))

    assert ended_runs(cluster, "ml", before=datetime(2026, 3, 1, 15, tzinfo=UTC)) == []
    assert ended_runs(cluster, "ml", before=datetime(2026, 3, 1, 16, tzinfo=UTC)) == [
        EndedRun(RUN, (f"Job {RUN}-train-14", f"ConfigMap {RUN}-config"))
    ]
