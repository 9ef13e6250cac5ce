"""Holders of a lease: this machine knows which of its own processes are dead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ftctl.storage.base import Store
from ftctl.storage.holder import is_gone, this_holder
from ftctl.storage.lease import RunLease


def dead_holder() -> str:
    """The holder name of a process that has ended."""
    code = "from ftctl.storage.holder import this_holder; print(this_holder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_process_that_ended_is_gone() -> None:
    assert is_gone(dead_holder())


def test_the_one_before_of_our_own_number_is_gone() -> None:
    """A container that is started again has the same process number."""
    before = [*this_holder().split("/")[:3], "ffffff"]
    assert is_gone("/".join(before))


def test_a_process_that_lives_is_not_gone() -> None:
    host, namespace, _, token = this_holder().split("/")

    assert not is_gone(f"{host}/{namespace}/{os.getppid()}/{token}")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({0: "other-host"}, id="another-machine"),
        pytest.param({1: "00000000-1"}, id="another-namespace"),
        pytest.param({2: "x"}, id="no-pid"),
    ],
)
def test_a_holder_that_is_not_of_this_machine_may_live(change: dict[int, str]) -> None:
    parts = dead_holder().split("/")

    assert not is_gone("/".join(change.get(place, part) for place, part in enumerate(parts)))


def test_the_lease_of_a_dead_process_is_taken_over_at_once(store: Store) -> None:
    first = RunLease(store, "lease.json", dead_holder(), ttl_s=3600, renew_s=1800)
    first.acquire()
    second = RunLease(store, "lease.json", this_holder(), is_gone=is_gone)

    second.acquire(on_wait=lambda *_: pytest.fail("it waited"))

    assert second.fence == first.fence + 1
    second.release()
