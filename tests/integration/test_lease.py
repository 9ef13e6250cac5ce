"""The lease of a run, on both kinds of store, with real waits of fractions of a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.errors import StoppedError, StorageError
from ftctl.storage.base import Store
from ftctl.storage.folder import FolderStore
from ftctl.storage.lease import LeaseRecord, RunLease
from ftctl.storage.open import open_store
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from tests.integration.s3_server import Proxy, S3Server

KEY = "runs/x/lease.json"


def lease(store: Store, holder: str, **options: Any) -> RunLease:
    return RunLease(store, KEY, holder, **{"ttl_s": 1.0, "renew_s": 0.2, **options})


def record(store: Store) -> LeaseRecord:
    return LeaseRecord.model_validate_json(store.read(KEY))


def leave(store: Store, holder: str, *, expires: float, fence: int) -> None:
    """Write the record of a holder that is gone."""
    content = LeaseRecord(holder=holder, expires=expires, fence=fence)
    store.write(KEY, content.model_dump_json().encode())


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_first_holder_gets_fence_1_and_frees_it_at_the_end(store: Store) -> None:
    with lease(store, "a") as held:
        assert held.fence == 1
        held.check()
        assert record(store).holder == "a"
        assert record(store).expires > time.time()

    assert record(store) == LeaseRecord(holder="a", expires=0, fence=1)
    with pytest.raises(StorageError, match="no lease is held"):
        held.check()


def test_a_released_lease_is_taken_at_once_with_the_next_fence(store: Store) -> None:
    with lease(store, "a", ttl_s=60):
        pass
    started = time.monotonic()
    with lease(store, "b", ttl_s=60) as held:
        assert held.fence == 2
    assert time.monotonic() - started < 10


def test_the_second_holder_waits_until_the_first_lets_go(store: Store) -> None:
    waits: list[tuple[str, float]] = []
    first, second = lease(store, "a"), lease(store, "b")
    first.acquire()
    taker = threading.Thread(
        target=second.acquire, kwargs={"on_wait": lambda *seen: waits.append(seen)}
    )
    taker.start()
    time.sleep(2.5)  # Two and a half times its ttl: the first renews.

    assert second.fence == 0
    first.check()
    assert {holder for holder, _ in waits} == {"a"}
    assert all(0 < left_s <= 1.0 for _, left_s in waits)

    first.release()
    taker.join(10)
    assert second.fence == 2
    second.check()
    second.release()


def test_a_killed_holder_is_followed_when_its_lease_expires(store: Store) -> None:
    leave(store, "killed", expires=time.time() + 0.6, fence=7)
    started = time.monotonic()
    with lease(store, "b") as held:
        assert held.fence == 8
    assert time.monotonic() - started >= 0.5


def test_a_holder_whose_clock_is_ahead_is_followed_after_a_ttl(store: Store) -> None:
    leave(store, "killed", expires=time.time() + 3600, fence=7)
    with lease(store, "b") as held:
        assert held.fence == 8


def test_of_four_that_wait_one_gets_each_fence(store: Store) -> None:
    leave(store, "killed", expires=time.time() + 0.3, fence=1)
    fences: list[int] = []
    inside = threading.Lock()

    def work(number: int) -> None:
        with lease(store, f"holder-{number}", ttl_s=30, renew_s=5) as held:
            assert inside.acquire(blocking=False)
            fences.append(held.fence)
            held.check()
            inside.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert fences == [2, 3, 4, 5]


def test_a_stop_ends_the_wait(store: Store) -> None:
    leave(store, "a", expires=time.time() + 60, fence=1)
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    waiting = lease(store, "b", ttl_s=60)

    started = time.monotonic()
    with pytest.raises(StoppedError, match="while it waited for the lease"):
        waiting.acquire(stop)
    assert time.monotonic() - started < 10
    assert record(store).holder == "a"
    waiting.release()
    assert record(store).holder == "a"


def test_a_lost_lease_is_noticed_and_never_taken_back(store: Store) -> None:
    held = lease(store, "a")
    held.acquire()
    leave(store, "b", expires=time.time() + 60, fence=2)

    def lost() -> bool:
        try:
            held.check()
        except StorageError:
            return True
        return False

    until(lost)
    with pytest.raises(StorageError, match="the lease was lost to b") as caught:
        held.check()
    assert caught.value.where == f"{store.url}/{KEY}"
    held.release()
    assert record(store).holder == "b"
    assert record(store).fence == 2


def test_a_deleted_lease_is_lost(store: Store) -> None:
    held = lease(store, "a", renew_s=60, ttl_s=0.1)
    held.acquire()
    store.delete(KEY)
    time.sleep(0.2)

    with pytest.raises(StorageError, match="lost to nobody: it was deleted"):
        held.check()
    held.release()


def test_a_lease_that_ran_out_while_the_machine_slept_is_renewed_if_nobody_took_it(
    store: Store,
) -> None:
    held = lease(store, "a", ttl_s=0.2, renew_s=60)
    held.acquire()
    time.sleep(0.4)
    held.check()
    assert record(store).expires > time.time()

    time.sleep(0.4)
    leave(store, "b", expires=time.time() + 60, fence=2)
    with pytest.raises(StorageError, match="lost to b"):
        held.check()
    held.release()


def test_a_lease_is_renewed_by_a_check_once_it_has_run_out_and_not_before(store: Store) -> None:
    moment = 1000.0
    held = lease(store, "a", ttl_s=10, renew_s=60, clock=lambda: moment)
    held.acquire()
    moment = 1009.9
    held.check()
    assert record(store).expires == 1010
    moment = 1010
    held.check()
    assert record(store).expires == 1020
    held.release()


def test_a_record_of_the_same_name_and_another_fence_is_another_holder(store: Store) -> None:
    """As of a container that was started again: what the first one still writes is refused."""
    held = lease(store, "a", ttl_s=0.1, renew_s=60)
    held.acquire()
    leave(store, "a", expires=time.time() + 60, fence=2)
    time.sleep(0.2)
    with pytest.raises(StorageError, match="lost to a"):
        held.check()
    held.release()
    assert record(store).fence == 2


def test_a_damaged_lease_is_not_taken(store: Store) -> None:
    store.write(KEY, b"{")
    with pytest.raises(StorageError, match="the lease is damaged"):
        lease(store, "a").acquire()
    assert store.read(KEY) == b"{"


def test_passing_trouble_does_not_lose_the_lease_before_it_expires(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    held = lease(store, "a", ttl_s=3.0, renew_s=0.2)
    held.acquire()
    (tmp_path / "store").rename(tmp_path / "gone")
    (tmp_path / "store").write_text("in the way")
    time.sleep(0.6)
    held.check()

    (tmp_path / "store").unlink()
    (tmp_path / "gone").rename(tmp_path / "store")
    before = record(store).expires
    until(lambda: record(store).expires > before)
    held.check()
    held.release()


def test_a_failed_renewal_is_tried_again_sooner_than_the_next_would_be(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    held = lease(store, "a", ttl_s=60, renew_s=1.5)
    held.acquire()
    first = record(store).expires
    (tmp_path / "store").rename(tmp_path / "gone")
    (tmp_path / "store").write_text("in the way")
    time.sleep(1.7)  # the first renewal has failed
    (tmp_path / "store").unlink()
    (tmp_path / "gone").rename(tmp_path / "store")
    until(lambda: record(store).expires > first, within_s=1.0)
    held.release()


def test_a_lease_that_may_be_lost_is_not_trusted(
    s3_server: S3Server, s3_config: StorageConfig
) -> None:
    """The server cannot be reached until after the expiry: another may have taken over."""
    down = threading.Event()
    with Proxy(s3_server.port, lambda *_: down.is_set()) as proxy:
        client = s3_client(endpoint_url=proxy.endpoint_url, attempts=1)
        bucket, _, prefix = str(s3_config.url).removeprefix("s3://").partition("/")
        held = lease(S3Store(client, bucket, prefix), "a", ttl_s=0.8, renew_s=0.2)
        held.acquire()
        down.set()
        time.sleep(1.2)
        with pytest.raises(StorageError, match=r"cannot be reached|connection"):
            held.check()
        down.clear()
        held.check()
        assert held.fence == 1
        held.release()
    assert record(open_store(s3_config)).fence == 1
