"""Lists of many runs: read from the pack where it is fresh, and never wrong where it is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ftctl.contract.layout import INDEX_PACK, RunLayout
from ftctl.contract.status import IndexRecord, State
from ftctl.storage.base import Store
from ftctl.storage.index import list_runs, write_index
from ftctl.storage.index_pack import STALE, read_pack
from ftctl.storage.parallel import each
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from ftctl_trainer.reporter import StoreReporter
from tests.integration.s3_server import S3Server
from tests.run_files import a_run

MANY = STALE + 50


def record(number: int, state: State = "succeeded") -> IndexRecord:
    """Of a run; those of higher numbers are older."""
    created = datetime(2026, 1, 1, tzinfo=UTC) - timedelta(minutes=number)
    return IndexRecord(
        run_id=f"run-{number:012x}",
        name="run",
        created=created,
        state=state,
        stage="convert",
        model="org/model",
        method="sft",
        loss=0.5,
        updated=created,
    )


def fill(store: Store) -> list[IndexRecord]:
    records = [record(number) for number in range(MANY)]
    each(lambda one: write_index(store, one), records)
    return records


def key_of(one: IndexRecord) -> str:
    return RunLayout(one.run_id).index(round(one.created.timestamp() * 1000))


def test_a_second_list_reads_the_pack_and_what_changed(
    s3_server: S3Server, s3_bucket: str, prefix: str
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    records = fill(store)
    assert list_runs(store) == records
    read: list[str] = []
    client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: read.append(params["Key"])
    )

    assert list_runs(store) == records
    assert read == [f"{prefix}/{INDEX_PACK}"]

    read.clear()
    changed, added = record(7, "failed"), record(-1, "running")
    write_index(store, changed)
    write_index(store, added)
    store.delete(key_of(records[9]))
    want = [added, *records[:7], changed, records[8], *records[10:]]
    assert list_runs(store) == want
    assert sorted(read) == [
        f"{prefix}/{key}" for key in sorted([INDEX_PACK, key_of(added), key_of(changed)])
    ]


@pytest.mark.parametrize("damaged", [b"", b"\x1f\x8b no gzip", b"{}"])
def test_a_damaged_pack_is_written_anew(store: Store, damaged: bytes) -> None:
    records = fill(store)
    store.write(INDEX_PACK, damaged)
    assert list_runs(store) == records
    assert store.read(INDEX_PACK) != damaged
    assert list_runs(store) == records


def test_a_list_of_few_packs_nothing(store: Store) -> None:
    records = fill(store)
    assert list_runs(store, limit=3) == records[:3]
    assert store.stat(INDEX_PACK) is None


def test_the_end_of_a_stage_packs_what_is_new(store: Store) -> None:
    fill(store)

    with StoreReporter(store, a_run(), "convert") as reporter:
        reporter.finish("succeeded", "convert done")

    assert len(read_pack(store)) == MANY + 1
