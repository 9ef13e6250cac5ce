"""The right to write a run: held by one, renewed while it lives, taken over when it expires."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from pydantic import ValidationError

from ftctl.contract.status import Stored
from ftctl.errors import StoppedError, StorageError
from ftctl.storage.base import ConflictError, NotFoundError, Store

_log = logging.getLogger(__name__)

# How often a waiting holder looks: a released lease is seen this soon.
POLL_S = 2.0
# How often it looks whether it is to stop.
_SLICE_S = 0.25
# After a failed renewal the next attempt comes sooner, this many within the usual time.
_HURRY = 6


class LeaseRecord(Stored):
    """Content of lease.json. `fence` never falls, whoever holds the lease."""

    holder: str
    expires: float = 0.0
    """Unix time in seconds by the holder's clock; 0 when released."""
    fence: int


class RunLease:
    """
    A lease on one key of a store.

    It is taken, renewed and given back by conditional writes, so two never hold the same fencing
    number. Clocks may differ by up to `ttl_s - renew_s`: a record that is renewed in time never
    looks expired before that. A record that does not change for `ttl_s`, by the waiting
    holder's own clock, is expired whatever it says.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        holder: str,
        *,
        ttl_s: float = 90,
        renew_s: float = 30,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            holder: names this process alone, as `host-pid-random`; shown to those who wait.
        """
        self._store, self._key, self._holder = store, key, holder
        self._ttl_s, self._renew_s = ttl_s, renew_s
        self._clock, self._sleep = clock, sleep
        self._where = f"{store.url}/{key}"
        self.fence = 0
        self._etag = ""
        self._expires = 0.0
        self._lost_to: str | None = None
        self._writing = threading.Lock()
        self._ending = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(
        self,
        stop: threading.Event | None = None,
        on_wait: Callable[[str, float], None] | None = None,
    ) -> None:
        """
        Wait until nobody holds the lease, take it, and keep it renewed.

        Args:
            stop: ends the wait.
            on_wait: called at every look with the present holder and the seconds left at most.
        Raises:
            StoppedError: `stop` was set.
            StorageError: the store does not answer.
        """
        seen_etag, seen_at = None, 0.0
        while True:
            self._end_if(stop)
            present, etag = self._read()
            now = self._clock()
            if etag != seen_etag:
                seen_etag, seen_at = etag, now
            left_s = _left(present, now, seen_at + self._ttl_s)
            if left_s <= 0:
                if self._take(present, etag):
                    break
                continue
            assert present is not None
            if on_wait:
                on_wait(present.holder, left_s)
            self._pause(min(left_s, POLL_S), stop)
        self._ending.clear()
        self._renewer = threading.Thread(target=self._keep, name="ftctl-lease", daemon=True)
        self._renewer.start()

    def check(self) -> None:
        """
        Return if this is still the holder; a lease that ran out is renewed first, if it can be.

        Raises:
            StorageError: another holder took over, or it may have: the store does not answer.
        """
        if self._lost_to is None and self.fence and self._clock() >= self._expires:
            self._renew()
        if self._lost_to is not None or not self.fence:
            raise StorageError(
                f"the lease was lost to {self._lost_to}" if self.fence else "no lease is held",
                where=self._where,
                hint="Another process works on this run; this one must not write any more.",
            )

    def release(self) -> None:
        """Stop renewing and let the next holder in at once; the fencing number stays."""
        self._ending.set()
        if self._renewer and self._renewer is not threading.current_thread():
            self._renewer.join()
        self._renewer = None
        if not self.fence or self._lost_to is not None:
            return
        try:
            with self._writing:
                self._write(self._record(0.0), if_match=self._etag)
        except StorageError as error:
            # It expires by itself; and what brought us here matters more.
            _log.warning("the lease was not released: %s", error)
        self.fence = 0

    def __enter__(self) -> RunLease:
        if not self.fence:
            self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _read(self) -> tuple[LeaseRecord | None, str | None]:
        try:
            content, etag = self._store.read_tagged(self._key)
        except NotFoundError:
            return None, None
        try:
            return LeaseRecord.model_validate_json(content), etag
        except ValidationError as error:
            raise StorageError(
                "the lease is damaged",
                where=self._where,
                hint="Make sure that nobody works on this run, and delete it.",
            ) from error

    def _take(self, present: LeaseRecord | None, etag: str | None) -> bool:
        """Write our record over the one that was read; False if another was faster."""
        fence = present.fence + 1 if present else 1
        record = LeaseRecord(holder=self._holder, expires=self._clock() + self._ttl_s, fence=fence)
        try:
            self._write(record, if_match=etag)
        except ConflictError:
            return False
        self.fence, self._lost_to = fence, None
        return True

    def _keep(self) -> None:
        pause_s = self._renew_s
        while not self._ending.wait(pause_s) and self._lost_to is None:
            try:
                self._renew()
                pause_s = self._renew_s
            except StorageError as error:
                pause_s = self._renew_s / _HURRY
                _log.warning("the lease was not renewed, trying again: %s", error)

    def _renew(self) -> None:
        """Move the expiry on, or find the lease lost. Raises StorageError: neither is known."""
        with self._writing:
            if self._lost_to is not None or self._ending.is_set():
                return
            record = self._record(self._clock() + self._ttl_s)
            try:
                self._write(record, if_match=self._etag)
            except ConflictError:
                present, etag = self._read()
                # An earlier renewal whose answer never came, though it was written.
                if present and etag and (present.holder, present.fence) == self._name():
                    self._write(record, if_match=etag)
                    return
                self._lost_to = present.holder if present else "nobody: it was deleted"
                _log.error("the lease %s was lost to %s", self._where, self._lost_to)

    def _write(self, record: LeaseRecord, *, if_match: str | None) -> None:
        data = record.model_dump_json().encode()
        self._etag = self._store.write(
            self._key, data, if_absent=if_match is None, if_match=if_match
        )
        self._expires = record.expires

    def _record(self, expires: float) -> LeaseRecord:
        return LeaseRecord(holder=self._holder, expires=expires, fence=self.fence)

    def _name(self) -> tuple[str, int]:
        return self._holder, self.fence

    def _pause(self, seconds: float, stop: threading.Event | None) -> None:
        while seconds > 0:
            self._end_if(stop)
            self._sleep(min(seconds, _SLICE_S))
            seconds -= _SLICE_S

    def _end_if(self, stop: threading.Event | None) -> None:
        if stop and stop.is_set():
            raise StoppedError(
                "stopped while it waited for the lease", where=self._where, hint="Resume it later."
            )


def _left(present: LeaseRecord | None, now: float, unchanged_until: float) -> float:
    """Seconds until a record that was read may be taken over."""
    if present is None:
        return 0.0
    return min(present.expires, unchanged_until) - now
