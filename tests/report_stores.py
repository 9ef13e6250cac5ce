"""Puts made-up runs into a store as the stages do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import yaml
from pydantic import BaseModel

from ftctl.contract.layout import RunLayout
from ftctl.contract.status import IndexRecord
from ftctl.storage.base import Store
from tests import report_records as made

LAYOUT = RunLayout(made.RUN_ID)


def put_run(store: Store) -> None:
    """Write the whole finished run; its GGUF is as large as the record says, and empty."""
    record = made.record()
    run = yaml.safe_dump(made.run_file().model_dump(mode="json"), allow_unicode=True)
    store.write(LAYOUT.config, run.encode())
    store.write(LAYOUT.status, made.status().model_dump_json().encode())
    store.write(LAYOUT.metrics, json_lines(record.metrics))
    store.write(LAYOUT.events, json_lines(record.events))
    store.write(LAYOUT.evaluation, made.evaluation().model_dump_json().encode())
    store.write(LAYOUT.verification, made.verification().model_dump_json().encode())
    store.write(LAYOUT.manifest, made.manifest().model_dump_json().encode())
    for file in record.gguf:
        store.write(f"{LAYOUT.gguf}{file.name}", bytes(file.size))
    store.write(LAYOUT.success, b"{}")
    put_index(store, made.RUN_ID)


def put_index(store: Store, run_id: str, hours: int = 0) -> None:
    """Write the index record of a run created so many hours after the made-up one."""
    created = made.START + timedelta(hours=hours)
    record = IndexRecord(
        run_id=run_id,
        name=run_id[:-13],
        created=created,
        state="succeeded",
        stage="convert",
        model="SmolLM2-135M-Instruct",
        method="sft",
        loss=0.2812,
        updated=created,
    )
    key = RunLayout(run_id).index(round(created.timestamp() * 1000))
    store.write(key, record.model_dump_json().encode())


def json_lines(models: Sequence[BaseModel]) -> bytes:
    """One JSON object a line."""
    return "".join(model.model_dump_json() + "\n" for model in models).encode()
