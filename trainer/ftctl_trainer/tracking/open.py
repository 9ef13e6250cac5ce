"""Opens the tracker that tracking.backend names, and checks that it can be."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from ftctl.contract.evaluation import Evaluation
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError
from ftctl_trainer.context import StageContext
from ftctl_trainer.evaluation_file import stored_evaluation
from ftctl_trainer.tracking.follow import Tracker, following
from ftctl_trainer.tracking.record import Point, evaluation_points, points

# What each backend imports, and how it is installed.
_MODULES = {
    "tensorboard": ("tensorboardX", "ftctl[train]"),
    "wandb": ("wandb", "ftctl[wandb]"),
    "mlflow": ("mlflow", "ftctl[mlflow]"),
}


def check_tracker(config: Config) -> None:
    """Refuse a tracker whose library is not here, before any work. Raises ConfigError."""
    needed = _MODULES.get(config.tracking.backend)
    if needed and importlib.util.find_spec(needed[0]) is None:
        raise ConfigError(
            f"the package {needed[0]} is not installed",
            where=f"tracking.backend={config.tracking.backend}",
            hint=f"pip install '{needed[1]}', or leave tracking at none.",
        )


@contextmanager
def tracked(ctx: StageContext) -> Iterator[None]:
    """While this is open, the run's tracker is told of its metrics."""
    if ctx.run.config.tracking.backend == "none" or not ctx.group.first:
        yield
        return
    with following(partial(_connect, ctx), _Known(ctx).points):
        yield


def _connect(ctx: StageContext) -> Tracker:
    settings = ctx.run.config.tracking
    if settings.backend == "mlflow":
        from ftctl_trainer.tracking.mlflow_server import MlflowTracker

        return MlflowTracker(ctx.run, settings)
    if settings.backend == "wandb":
        from ftctl_trainer.tracking.weights_biases import WandbTracker

        folder = ctx.workdir / "wandb"
        return WandbTracker(
            ctx.run, settings, folder=folder, store=ctx.store, prefix=ctx.layout.wandb
        )
    from ftctl_trainer.tracking.board import BoardTracker

    return BoardTracker(ctx.run, ctx.store, ctx.layout.tensorboard)


class _Known:
    """What the store has of a run to be tracked; eval.json, which is long, only when it changed."""

    def __init__(self, ctx: StageContext) -> None:
        self._ctx = ctx
        self._evaluation: Evaluation | None = None
        self._etag = ""

    def points(self) -> list[Point]:
        """Everything so far."""
        lines = self._ctx.reporter.history()
        last = max((line.step for line in lines), default=0)
        found = self._ctx.store.stat(self._ctx.layout.evaluation)
        if found and found.etag != self._etag:
            self._evaluation = stored_evaluation(self._ctx.store, self._ctx.layout)
            self._etag = found.etag
        # This stage writes both scores: one before its first step, one after its last.
        return points(lines) + evaluation_points(self._evaluation, last)
