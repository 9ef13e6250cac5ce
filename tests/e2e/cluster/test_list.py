"""`ftctl list` joins what the store has with the Jobs of a namespace."""

from __future__ import annotations

from benchmarks.many_jobs import many_jobs

from ftctl.contract.status import IndexRecord, now
from ftctl.storage.index import write_index
from tests.e2e.cluster.laptop import Laptop

GOING, ENDED, KEPT = "going-0123456789ab", "ended-0123456789ab", "kept-0123456789ab"


def test_a_job_that_goes_on_is_believed_and_of_one_that_succeeded_the_store(laptop: Laptop) -> None:
    for run_id in (KEPT, ENDED, GOING):
        record = IndexRecord(
            run_id=run_id,
            name=run_id.partition("-")[0],
            created=now(),
            state="pending",
            stage="train",
            model="org/model",
            method="sft",
            updated=now(),
        )
        write_index(laptop.store(), record)

    with many_jobs([GOING, ENDED], going_on=1) as namespace:
        place = f"cluster.namespace={namespace}"
        done = laptop.ftctl("list", "--json", *laptop.storage, place)

    assert (done.code, done.stderr) == (0, "")
    assert {run["run_id"]: (run["stage"], run["state"]) for run in done.values["runs"]} == {
        GOING: ("convert", "running"),
        ENDED: ("train", "pending"),
        KEPT: ("train", "pending"),
    }
