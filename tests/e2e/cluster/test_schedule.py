"""A release with a schedule: its CronJob reads the data anew, and trains when it has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ftctl.cluster import kinds
from ftctl.cluster.observed import condition
from tests.e2e.cluster.laptop import NOWHERE, PROJECT, until
from tests.e2e.cluster.releases import LAUNCHED, Release
from tests.e2e.helm import needs_helm

pytestmark = needs_helm
EACH_MINUTE = {"cron": "* * * * *"}
DATA = "rows.json"
# The next minute, and a launcher beside what else the machine does.
_TICK_S = 300


@pytest.fixture
def scheduled(release: Release) -> Iterator[Release]:
    """A release whose rows are an object that changes. No node takes its runs."""
    revision = next(one for one in release.values["overrides"] if one.startswith("model.revision="))
    data = f"dataset.train={release.laptop.store_url}/{DATA}"
    release.values["overrides"] = [data, revision, NOWHERE]
    yield release
    release.helm("uninstall")


def test_a_schedule_trains_when_the_rows_have_changed_or_always(scheduled: Release) -> None:
    data = json.loads((PROJECT / "data/quickstart/train.json").read_text(encoding="utf-8"))
    write(scheduled, data)
    done = scheduled.helm("install", schedule=EACH_MINUTE)
    assert done.code == 0, done.stderr
    [first] = until(scheduled.runs, bool, _TICK_S)

    next_tick(scheduled)
    assert scheduled.runs() == {first}

    # The first: the smoke experiment trains on some from the beginning.
    del data["examples"][next(iter(data["examples"]))]
    write(scheduled, data)
    both = until(scheduled.runs, lambda runs: len(runs) > 1, _TICK_S)
    next_tick(scheduled)
    assert scheduled.runs() == both
    assert len(both) == 2

    done = scheduled.helm("upgrade", schedule=EACH_MINUTE | {"always": True})
    assert done.code == 0, done.stderr
    until(scheduled.runs, lambda runs: len(runs) > 2, _TICK_S)


def write(release: Release, data: dict[str, Any]) -> None:
    """Put rows where the release reads them."""
    release.laptop.store().write(DATA, json.dumps(data).encode())


def next_tick(release: Release) -> None:
    """Wait for a launcher that starts from now on, and for its success."""
    namespace = release.laptop.namespace

    def launchers(*conditions: str) -> set[str]:
        jobs = release.cluster.list(kinds.JOB, namespace, labels=LAUNCHED)
        return {
            job["metadata"]["uid"] for job in jobs if all(condition(job, one) for one in conditions)
        }

    before = launchers()
    until(lambda: launchers("Complete") - before, bool, _TICK_S)
