"""TensorBoard: an event file in the run's folder, written anew from all points."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ftctl.contract.runfile import RunFile
from ftctl.errors import StorageError
from ftctl.storage.base import Store
from ftctl_trainer.tracking.follow import TrackerError
from ftctl_trainer.tracking.record import Point, lineage, parameters


class BoardTracker:
    """
    One file with each point once, also after a resume: what the store has is replaced as a whole.

    Point TensorBoard at a copy of `runs/<run id>/tensorboard/`.
    """

    def __init__(self, run: RunFile, store: Store, key: str) -> None:
        self._run, self._store, self._key = run, store, key
        self._written = -1

    def record(self, points: Sequence[Point]) -> None:
        """Write the file, if there is more to say than the last time."""
        if len(points) == self._written:
            return
        try:
            self._store.write(self._key, event_file(self._run, points))
        except StorageError as error:
            raise TrackerError(error.what, where=error.where, hint=error.hint) from error
        self._written = len(points)

    def close(self, state: str) -> None:
        """Nothing is left open."""


def event_file(run: RunFile, points: Sequence[Point]) -> bytes:
    """The bytes of an event file: the points, and the run's settings as text."""
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory(prefix="ftctl-tensorboard-") as folder:
        # Its event queue is emptied when it is closed.
        with SummaryWriter(logdir=folder, write_to_disk=True) as writer:
            for point in points:
                writer.add_scalar(point.name, point.value, point.step, point.time.timestamp())
            for title, values in (("parameters", parameters(run)), ("lineage", lineage(run))):
                rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
                writer.add_text(title, f"| | |\n|---|---|\n{rows}", 0)
        [file] = Path(folder).iterdir()
        return file.read_bytes()
