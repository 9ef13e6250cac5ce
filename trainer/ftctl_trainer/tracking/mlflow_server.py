"""MLflow: a run in the experiment `tracking.project`, found again by the run's id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ftctl.contract.operational import TrackingConfig
from ftctl.contract.runfile import RunFile
from ftctl.errors import ConfigError
from ftctl_trainer.tracking.follow import End
from ftctl_trainer.tracking.record import Point, lineage, parameters

if TYPE_CHECKING:
    pass

# https://mlflow.org/docs/latest/rest-api.html: limits of log-batch and of a parameter's value.
_METRICS_AT_ONCE = 1000
_PARAMETERS_AT_ONCE = 100
_VALUE_LENGTH = 6000
# How a run is found again.
_RUN_TAG = "ftctl.run"
_STATES: dict[End, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# Minutes of retries would keep a run from ending.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MlflowTracker:
    """
    A run of the server at `tracking.url`, else of MLFLOW_TRACKING_URI.

    A point that the server has is not sent again, so a resumed run goes on with the same curves.

    Raises:
        ConfigError: the server cannot be reached or refuses.
    """

    def __init__(self, run: RunFile, settings: TrackingConfig) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with _errors():
            from mlflow import MlflowClient

            self._client = MlflowClient(settings.url)
            experiment = self._experiment(settings.project)
            known = self._find(run, experiment)
            self._id = known or self._create(run, experiment, settings.tags)
            self._client.update_run(self._id, status="RUNNING")
            self._sent: set[tuple[str, int]] = set()
            for name in self._client.get_run(self._id).data.metrics:
                history = self._client.get_metric_history(self._id, name)
                self._sent |= {(name, metric.step) for metric in history}

    def record(self, points: Sequence[Point]) -> None:
        """Send the points that the server lacks."""
        from mlflow.entities import Metric

        new = [point for point in points if (point.name, point.step) not in self._sent]
        for start in range(0, len(new), _METRICS_AT_ONCE):
            batch = new[start : start + _METRICS_AT_ONCE]
            metrics = [
                Metric(point.name, point.value, int(point.time.timestamp() * 1000), point.step)
                for point in batch
            ]
            with _errors():
                self._client.log_batch(self._id, metrics=metrics)
            self._sent |= {(point.name, point.step) for point in batch}

    def close(self, end: End) -> None:
        """End the run there; a resumed one is running again."""
        with _errors():
            self._client.set_terminated(self._id, _STATES[end])

    def _experiment(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known else self._client.create_experiment(name))

    def _find(self, run: RunFile, experiment: str) -> str | None:
        wanted = f"tags.`{_RUN_TAG}` = '{run.run_id}'"
        found = self._client.search_runs([experiment], wanted, max_results=1)
        return found[0].info.run_id if found else None

    def _create(self, run: RunFile, experiment: str, marks: Sequence[str]) -> str:
        from mlflow.entities import Param

        tags = {**lineage(run), **dict.fromkeys(marks, "true")}
        made = self._client.create_run(experiment, run_name=run.run_id, tags=tags)
        settings_of_run = [
            Param(name, value[:_VALUE_LENGTH]) for name, value in parameters(run).items()
        ]
        for start in range(0, len(settings_of_run), _PARAMETERS_AT_ONCE):
            batch = settings_of_run[start : start + _PARAMETERS_AT_ONCE]
            self._client.log_batch(made.info.run_id, params=batch)
        return str(made.info.run_id)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what MLflow raises into a ConfigError."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException) as error:
        raise ConfigError(
            f"MLflow refused: {str(error).splitlines()[0]}",
            where="tracking.url",
            hint="See that the server answers, and that MLFLOW_TRACKING_TOKEN or "
            "MLFLOW_TRACKING_USERNAME and _PASSWORD are right.",
        ) from error
