"""A run that is cancelled saves what it has, and goes on from there."""

from __future__ import annotations

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from ftctl.contract.layout import RunLayout
from ftctl.report.collect import collect_status
from tests.e2e.cluster.laptop import Laptop, stage_of, until


def test_a_cancelled_run_goes_on_from_its_checkpoint(cluster: Cluster, laptop: Laptop) -> None:
    run_id = laptop.submit()
    layout, store = RunLayout(run_id), laptop.store()
    until(lambda: store.stat(f"{layout.checkpoint(2)}_COMPLETE"), bool, 240)

    cancelled = laptop.ftctl("cancel", run_id, *laptop.storage, "--json")

    assert cancelled.code == 0, cancelled.stderr
    assert len(cancelled.values["deleted"]) == 2
    assert list(cluster.list(kinds.JOB, laptop.namespace)) == []
    assert list(cluster.list(kinds.POD, laptop.namespace)) == []
    record = collect_status(store, run_id)
    assert record.state == "cancelled"
    stopped_at = record.step
    assert 2 <= stopped_at < 12
    assert store.stat(f"{layout.checkpoint(stopped_at)}_COMPLETE") is not None

    again = laptop.ftctl("cancel", run_id, *laptop.storage, "--json")
    assert (again.code, again.values["deleted"]) == (0, [])
    refused = laptop.ftctl("submit", "--yes", *laptop.settings)
    assert (refused.code, "this run is cancelled" in refused.stderr) == (7, True)

    resumed = laptop.ftctl("resume", run_id, "--yes", "--wait", *laptop.storage)

    assert resumed.code == 0, resumed.stderr
    events = collect_status(store, run_id).events
    assert [e.data["step"] for e in events if e.kind == "resumed"] == [stopped_at]
    assert stage_of(laptop.status(run_id), "convert")["state"] == "succeeded"
