"""What trackers are told, under which names."""

from __future__ import annotations

import importlib.util

import pytest

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.contract.spec import Config
from ftctl.contract.status import Metrics, now
from ftctl.errors import ConfigError
from ftctl_trainer.tracking.open import check_tracker
from ftctl_trainer.tracking.record import evaluation_points, lineage, parameters, points
from tests.run_files import a_run


def test_a_line_of_an_evaluation_has_its_loss_alone() -> None:
    logged = Metrics(step=5, epoch=0.5, loss=2.0, grad_norm=1.5, time=now())
    held_out = Metrics(step=5, epoch=0.5, eval_loss=1.5, time=now())

    found = [(point.name, point.step, point.value) for point in points([logged, held_out])]

    assert found == [
        ("train/loss", 5, 2.0),
        ("train/grad_norm", 5, 1.5),
        ("train/epoch", 5, 0.5),
        ("eval/loss", 5, 1.5),
    ]


def test_scores_before_stand_at_step_0_and_scores_after_at_the_last() -> None:
    evaluation = Evaluation(
        before=Scores(rows=4, right_action=0.25, loss=3.0),
        after=Scores(rows=4, right_action=0.75, valid_json=1.0, loss=1.0),
    )

    found = [(point.name, point.step, point.value) for point in evaluation_points(evaluation, 12)]

    assert found == [
        ("eval/right_action", 0, 0.25),
        ("eval/right_action", 12, 0.75),
        ("eval/valid_json", 12, 1.0),
    ]


def test_parameters_decide_the_result_and_name_no_place() -> None:
    run = a_run(cluster={"namespace": "ml"}, storage={"url": "s3://bucket/runs"})

    found = parameters(run)

    assert found["training.learning_rate"] == str(run.config.training.learning_rate)
    assert {name.partition(".")[0] for name in found}.isdisjoint(
        {"cluster", "storage", "tracking", "paths", "other"}
    )
    assert lineage(run)["ftctl.store"] == f"s3://bucket/runs/runs/{run.run_id}"


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        ("tensorboard", "tensorboardX", "train"),
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb", "wandb"),
    ],
)
def test_a_tracker_whose_package_is_missing_is_refused(
    monkeypatch: pytest.MonkeyPatch, backend: str, package: str, extra: str
) -> None:
    config = Config.model_validate({"tracking": {"backend": backend}})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=f"the package {package} is not installed") as caught:
        check_tracker(config)
    assert f"ftctl[{extra}]" in str(caught.value.hint)
