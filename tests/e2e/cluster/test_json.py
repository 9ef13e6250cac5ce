"""What commands print with --json of a run in a cluster is what the reference says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ftctl.contract.clusterview import Reason
from ftctl.contract.layout import RunLayout
from ftctl.contract.placement import FailureRecord
from ftctl.contract.status import LogLine, now
from tests import report_records as made
from tests.e2e.cluster.laptop import Laptop
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY
from tests.json_answers import problems


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Images that no node has: the run is created, and nothing of it starts."""
    return {"train": "ftctl-nowhere:0", "convert": "ftctl-nowhere:0"}


def ask(laptop: Laptop, command: str, *arguments: str) -> Any:
    """A command's answer, checked against the reference."""
    done = laptop.ftctl(*command.split(), "--json", *arguments)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert problems(command, told) == []
    return told


def test_every_answer_about_a_run_in_a_cluster_is_as_documented(laptop: Laptop) -> None:
    keys = laptop.with_env(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    assert ask(keys, "secrets set", *laptop.settings)["secrets"][0]["created"] is False
    assert ask(keys, "secrets check", *laptop.settings)["secrets"][0]["usable"] is True
    assert ask(laptop, "doctor", "--no-pod", *laptop.settings)["ok"] is True
    assert ask(laptop, "submit", "--dry-run", *laptop.settings)["state"] == "planned"
    created = ask(laptop, "diff", *laptop.settings)["objects"]
    assert {each["what"] for each in created} == {"create"}

    run_id = ask(laptop, "submit", "--yes", *laptop.settings)["run_id"]

    assert ask(laptop, "submit", "--yes", *laptop.settings)["state"] == "running"
    assert ask(laptop, "status", run_id, *laptop.storage)["cluster"]["stages"]
    assert ask(laptop, "list", *laptop.storage, f"cluster.namespace={laptop.namespace}")["runs"]
    assert len(ask(laptop, "cancel", run_id, *laptop.storage)["deleted"]) == 2
    assert ask(laptop, "resume", run_id, "--yes", *laptop.storage)["state"] == "resumed"
    ask(laptop, "cancel", run_id, *laptop.storage)
    ended = ask(laptop, "gc", "--yes", "--older-than", "0", *laptop.settings)["cluster"]
    assert [each["run_id"] for each in ended] == [run_id]


def test_every_line_of_a_log_is_as_documented(laptop: Laptop) -> None:
    run_id = ask(laptop, "submit", "--yes", *laptop.settings)["run_id"]
    line = LogLine(time=now(), level="info", logger="x", message="step 4", status=made.status())
    kept = FailureRecord(
        stage="train",
        pod="x",
        job="x",
        time=now(),
        reason=Reason(code="Exit7", what="it failed"),
        log=[line.model_dump_json(), "not a line of ours"],
    )
    laptop.store().write(RunLayout(run_id).failure("x"), kept.model_dump_json().encode())

    done = laptop.ftctl("logs", run_id, "--json", *laptop.storage)

    assert done.code == 0, done.stderr
    told = [json.loads(text) for text in done.stdout.splitlines()]
    assert [each["message"] for each in told] == ["step 4", "not a line of ours"]
    assert [problems("logs", each) for each in told] == [[], []]
