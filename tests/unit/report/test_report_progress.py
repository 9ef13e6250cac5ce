from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ftctl.contract.status import IndexRecord, Status
from ftctl.report.progress import listing_text, status_json, status_line, status_text
from ftctl.report.record import RunRecord
from tests import report_records as made


def running(age_s: float) -> RunRecord:
    """A run in the middle of its training, with a heartbeat of that age."""
    return RunRecord(
        run_id=made.RUN_ID,
        collected=made.after(200 + age_s),
        status=Status(
            run_id=made.RUN_ID,
            stage="train",
            state="running",
            phase="training",
            step=45,
            total_steps=90,
            loss=0.61234,
            real_tokens_per_s=431.7,
            eta_s=100,
            heartbeat=made.after(200),
            holder="laptop-1",
        ),
        events=made.events()[:6],
    )


def test_a_running_run_is_told_line_by_line() -> None:
    assert status_text(running(4)) == (
        "run        quickstart-4f2a91c7d03e\n"
        "state      running\n"
        "stage      train: training\n"
        "step       45 of 90 (50%)\n"
        "loss       0.612\n"
        "speed      432 tokens/s\n"
        "left       1 min 40 s\n"
        "heartbeat  4 s ago, by laptop-1\n"
        "\n"
        "last events (UTC)\n"
        "2026-03-01 14:05:09  train  started        holder laptop-1\n"
        "2026-03-01 14:06:09  train  checkpoint x4  step 10 … step 40\n"
        "2026-03-01 14:08:19  train  resumed        step 40"
    )


def test_an_abandoned_run_says_how_to_go_on() -> None:
    lines = status_text(running(150)).splitlines()
    assert lines[1] == "state      running, but nobody works on it"
    assert lines[7] == (
        "heartbeat  2 min ago, by laptop-1; go on with `ftctl resume quickstart-4f2a91c7d03e`"
    )


def test_a_run_without_a_status_has_not_started() -> None:
    assert status_text(RunRecord(made.RUN_ID, made.START, problems=("events.jsonl: torn",))) == (
        "run        quickstart-4f2a91c7d03e\n"
        "state      pending\n"
        "stage      no stage has started yet\n"
        "problem    events.jsonl: torn"
    )


def test_an_error_is_told() -> None:
    record = running(0)
    assert record.status
    failed = record.status.model_copy(update={"state": "failed", "error": "disk full"})
    assert "error      disk full\n" in status_text(replace(record, status=failed))


def test_a_line_says_only_what_changes_when_the_run_moves_on() -> None:
    record = running(4)
    assert record.status
    failed = record.status.model_copy(update={"state": "failed", "error": "disk full"})
    early = record.status.model_copy(
        update={"phase": "loading model", "total_steps": 0, "loss": None, "eta_s": None}
    )
    assert [
        status_line(record),
        status_line(replace(record, status=failed)),
        status_line(replace(record, status=early)),
        status_line(RunRecord(made.RUN_ID, made.START)),
    ] == [
        "running: train, training, step 45 of 90, loss 0.612, 1 min 40 s left",
        "failed: train, training, step 45 of 90, loss 0.612, disk full",
        "running: train, loading model",
        "pending: no stage has started yet",
    ]


def test_json_has_the_status_the_liveness_and_the_last_events() -> None:
    record = replace(running(150), events=made.events()[:1])
    assert status_json(record) == {
        "run_id": made.RUN_ID,
        "stage": "train",
        "state": "running",
        "phase": "training",
        "step": 45,
        "total_steps": 90,
        "loss": 0.61234,
        "real_tokens_per_s": 431.7,
        "eta_s": 100.0,
        "heartbeat": "2026-03-01T14:08:29Z",
        "holder": "laptop-1",
        "fence": 0,
        "error": None,
        "heartbeat_age_s": 150.0,
        "abandoned": True,
        "events": [
            {
                "time": "2026-03-01T14:05:09Z",
                "stage": "train",
                "kind": "started",
                "data": {"holder": "laptop-1"},
            }
        ],
        "problems": [],
        "cluster": None,
    }


def test_a_listing_has_fixed_columns_and_whole_ids() -> None:
    runs = [
        IndexRecord(
            run_id=made.RUN_ID,
            name="quickstart",
            created=made.START,
            state="succeeded",
            stage="convert",
            model="SmolLM2-135M-Instruct",
            method="sft",
            loss=0.2812,
            updated=made.after(372),
        ),
        IndexRecord(
            run_id="a-0123456789ab",
            name="a",
            created=made.START - timedelta(days=2),
            state="pending",
            stage="train",
            model="",
            method="dpo",
            updated=made.START,
        ),
    ]
    assert listing_text(runs, made.after(400)) == (
        "run                      state      stage    model                  method   loss"
        "    created\n"
        "quickstart-4f2a91c7d03e  succeeded  convert  SmolLM2-135M-Instruct  sft     0.281"
        "  6 min ago\n"
        "a-0123456789ab           pending    train    -                      dpo         -"
        "    2 d ago"
    )
