"""Weights & Biases: a run of the project `tracking.project`, under the run's id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ftctl.contract.operational import TrackingConfig
from ftctl.contract.runfile import RunFile
from ftctl.errors import ConfigError
from ftctl.storage.base import Store
from ftctl.storage.markers import upload_folder
from ftctl_trainer.tracking.follow import End
from ftctl_trainer.tracking.record import Point, lineage, parameters

if TYPE_CHECKING:
    import wandb

_EXIT_CODES: dict[End, int] = {"finished": 0, "stopped": 75, "failed": 1}


class WandbTracker:
    """
    A run whose id is ours, so that a resumed run continues the same record.

    With WANDB_MODE=offline, what `wandb sync` takes goes to the run's folder in the store when the
    stage ends; each attempt writes it whole, from all points.

    Raises:
        ConfigError: no key, or the service refuses.
    """

    def __init__(
        self, run: RunFile, settings: TrackingConfig, *, folder: Path, store: Store, prefix: str
    ) -> None:
        self._folder, self._store, self._prefix = folder, store, prefix
        folder.mkdir(parents=True, exist_ok=True)
        with _errors():
            import wandb

            self._run: wandb.Run = wandb.init(
                id=run.run_id,
                name=run.run_id,
                project=settings.project,
                tags=settings.tags,
                config={**parameters(run), **lineage(run)},
                dir=str(folder),
                resume="allow",
                settings=wandb.Settings(
                    **({"base_url": settings.url} if settings.url else {}),
                    console="off",
                    silent=True,
                    init_timeout=30,
                    # Code, packages and the machine's load are not what is tracked here.
                    disable_git=True,
                    save_code=False,
                    x_disable_stats=True,
                ),
            )
        # The service takes steps in order, and drops what it has already.
        self._first = self._run.step
        self._sent: set[tuple[str, int]] = set()

    def record(self, points: Sequence[Point]) -> None:
        """Log the points that were not logged yet."""
        new = [
            point
            for point in points
            if point.step >= self._first and (point.name, point.step) not in self._sent
        ]
        new.sort(key=lambda point: point.step)
        with _errors():
            for step, found in groupby(new, key=lambda point: point.step):
                self._run.log({point.name: point.value for point in found}, step=step)
        self._sent |= {(point.name, point.step) for point in new}

    def close(self, end: End) -> None:
        """Finish the run; offline, bring its folder to the store."""
        with _errors():
            self._run.finish(exit_code=_EXIT_CODES[end])
        if self._run.settings.mode == "offline":
            self._keep()

    def _keep(self) -> None:
        """Bring the folder to the store, in place of an earlier attempt's."""
        kept = {
            f"{self._prefix}{file.name}"
            for file in upload_folder(self._store, self._folder, self._prefix)
        }
        for info in list(self._store.list(self._prefix)):
            if info.key not in kept:
                self._store.delete(info.key)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what wandb raises into a ConfigError."""
    from wandb.errors import Error

    try:
        yield
    except Error as error:
        raise ConfigError(
            f"Weights & Biases refused: {str(error).splitlines()[0]}",
            where="tracking.backend=wandb",
            hint="Set WANDB_API_KEY, or WANDB_MODE=offline to keep the record in the store.",
        ) from error
