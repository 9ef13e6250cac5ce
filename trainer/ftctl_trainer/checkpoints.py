"""Checkpoints in the store: uploaded beside the training, complete or invisible, pruned."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ftctl.contract import layout
from ftctl.contract.layout import RunLayout
from ftctl.errors import StorageError
from ftctl.storage.base import Store
from ftctl.storage.markers import download_folder, upload_folder, write_marker
from ftctl_trainer.context import Lease, Reporter

_log = logging.getLogger(__name__)

_STEP = re.compile(r"step-(\d+)/(.+)")
# Uploads that may wait for one another: more would fill the disk of a slow link's pod.
_WAITING = 2


class Checkpoints:
    """The checkpoints of one run. `save` returns at once; `flush` waits, and raises what failed."""

    def __init__(
        self, store: Store, keys: RunLayout, reporter: Reporter, lease: Lease, *, limit: int
    ) -> None:
        """
        Args:
            limit: checkpoints kept, the newest ones, besides one that `save` is told to keep.
        """
        self._store, self._keys, self._reporter, self._lease = store, keys, reporter, lease
        self._limit = limit
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ftctl-checkpoint")
        self._pending: list[Future[None]] = []

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(step for step, names in self._names().items() if layout.COMPLETE in names)

    def download_newest(self, folder: Path) -> int | None:
        """
        Fetch the newest complete checkpoint into a folder; return its step, or None.

        A damaged one is passed over for the one before it.

        Raises:
            StorageError: there are checkpoints, and none can be read.
        """
        failure: StorageError | None = None
        for step in reversed(self.steps()):
            try:
                self.download(step, folder)
                return step
            except StorageError as error:
                _log.warning("the checkpoint of step %d cannot be used: %s", step, error)
                shutil.rmtree(folder, ignore_errors=True)
                failure = error
        if failure is not None:
            raise failure
        return None

    def download(self, step: int, folder: Path) -> None:
        """Fetch one checkpoint, each file checked."""
        download_folder(self._store, self._keys.checkpoint(step), folder)

    def discard_incomplete(self) -> None:
        """Remove what an upload that was cut off left behind."""
        for step, names in self._names().items():
            if layout.COMPLETE not in names:
                self._delete(step, names)

    def save(self, step: int, folder: Path, *, keep: int | None = None) -> None:
        """
        Upload a checkpoint, which the uploader deletes afterwards, and prune old ones.

        Args:
            keep: a step that is not pruned however old it is.
        Raises:
            StorageError: an earlier upload failed.
        """
        self.raise_failure()
        while len(self._pending) >= _WAITING:
            self._pending.pop(0).result()
        self._pending.append(self._worker.submit(self._upload, step, folder, keep))

    def raise_failure(self) -> None:
        """Raise what a finished upload failed with."""
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    @contextmanager
    def uploaded(self) -> Iterator[None]:
        """
        Flush in the end, though something was raised: what training fails of may come right after
        a checkpoint, and that is the last good one.

        Raises:
            StorageError: an upload failed, and nothing else did.
        """
        try:
            yield
        except BaseException:
            with suppress(StorageError):
                self.flush()
            raise
        self.flush()

    def flush(self) -> None:
        """Wait for all uploads. Raises StorageError: one failed."""
        while self._pending:
            self._pending.pop(0).result()

    def _upload(self, step: int, folder: Path, keep: int | None) -> None:
        prefix = self._keys.checkpoint(step)
        self._lease.check()
        files = upload_folder(self._store, folder, prefix)
        # Metrics first: a resume drops the lines after the checkpoint, and can make up none.
        self._reporter.flush()
        self._lease.check()
        write_marker(self._store, prefix, files, self._lease.fence)
        self._reporter.event("checkpoint", step=step)
        self._prune(keep)
        shutil.rmtree(folder, ignore_errors=True)

    def _prune(self, keep: int | None) -> None:
        names = self._names()
        for step in self.steps()[: -self._limit]:
            if step != keep:
                self._delete(step, names[step])

    def _names(self) -> dict[int, list[str]]:
        """File names by step."""
        names: dict[int, list[str]] = {}
        for info in self._store.list(self._keys.checkpoints):
            match = _STEP.fullmatch(info.key.removeprefix(self._keys.checkpoints))
            if match:
                names.setdefault(int(match[1]), []).append(match[2])
        return names

    def _delete(self, step: int, names: list[str]) -> None:
        # The marker goes first: half a checkpoint must never look whole.
        for name in sorted(names, key=lambda name: name != layout.COMPLETE):
            self._store.delete(self._keys.checkpoint(step) + name)
