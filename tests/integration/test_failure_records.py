"""What the store keeps of an attempt that failed holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftctl.cluster.observed import JOB_NAME, Observed
from ftctl.cluster.records import keep_failures
from ftctl.config.secret import redact
from ftctl.contract.labels import run_labels
from ftctl.storage.folder import FolderStore
from ftctl.storage.placement import read_failures
from tests.unit.cluster.memory_api import memory_cluster

RUN, AT = "bot-0123456789ab", "2026-03-01T14:00:00Z"
TOKEN = "hf_" + "a1B2" * 8


def made(kind: str, name: str, **more: Any) -> dict[str, Any]:
    labels = {**run_labels(RUN, "train"), JOB_NAME: "bot-train"}
    meta = {"name": name, "namespace": "ml", "uid": name, "labels": labels, "creationTimestamp": AT}
    return {"kind": kind, "metadata": meta, **more}


def test_tokens_are_hidden_in_the_reason_the_hint_the_log_and_the_events(tmp_path: Path) -> None:
    state = {"terminated": {"exitCode": 5, "finishedAt": AT}}
    pod = made(
        "Pod",
        "bot-train-abcde",
        status={"phase": "Failed", "containerStatuses": [{"name": "train", "state": state}]},
        spec={"containers": [{"name": "train"}]},
    )
    event = made(
        "Event",
        "e",
        involvedObject={"uid": "bot-train-abcde"},
        type="Warning",
        reason="Failed",
        message=f"pull https://jo:{TOKEN}@r.example failed",
        lastTimestamp=AT,
    )
    line = (
        f'{{"time": "{AT}", "level": "error", "logger": "x", "message": '
        f'"wrong key {TOKEN}\\nExport {TOKEN} again."}}'
    )
    job = made("Job", "bot-train", status={})
    seen = Observed(jobs=[job], pods=[pod], logs={"bot-train-abcde": [line]})
    store = FolderStore(tmp_path)

    [kept] = keep_failures(store, memory_cluster(job, pod, event), RUN, seen, redact)

    assert read_failures(store, RUN) == [kept]
    assert kept.events == [f"{AT} Warning Failed: pull https://***@r.example failed"]
    assert (kept.reason.what, kept.reason.hint) == (
        "exit code 5 (storage): wrong key ***",
        "Export *** again.",
    )
    assert TOKEN not in kept.model_dump_json()
