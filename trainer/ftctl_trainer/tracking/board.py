"""TensorBoard: an event file in the run's folder, written anew from all points."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ftctl.contract.runfile import RunFile
from ftctl.storage.base import Store
from ftctl_trainer.tracking.follow import End
from ftctl_trainer.tracking.record import Point, lineage, parameters

_GROWTH = 1.1


class BoardTracker:
    """
    One file with each point once, also after a resume: what the store has is replaced as a whole.

    Point TensorBoard at a copy of `runs/<run id>/tensorboard/`.
    """

    def __init__(self, run: RunFile, store: Store, key: str) -> None:
        self._run, self._store, self._key = run, store, key
        self._points: Sequence[Point] = ()
        self._written = 0

    def record(self, points: Sequence[Point]) -> None:
        """
        Write the file, if it grows by a tenth at least.

        So the whole of a long training costs ten times its last file, and not its square.
        """
        self._points = points
        if len(points) > _GROWTH * self._written:
            self._write()

    def close(self, end: End) -> None:
        """Write what is left."""
        if len(self._points) != self._written:
            self._write()

    def _write(self) -> None:
        self._store.write(self._key, event_file(self._run, self._points))
        self._written = len(self._points)


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
