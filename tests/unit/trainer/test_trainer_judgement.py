"""A training that made the model worse is told from the losses."""

from __future__ import annotations

import pytest

from ftctl.contract.evaluation import Evaluation, Scores
from ftctl.contract.status import Metrics
from ftctl_trainer.judgement import made_worse


def evaluated(before: float | None, after: float | None) -> Evaluation:
    return Evaluation(before=Scores(rows=1, loss=before), after=Scores(rows=1, loss=after))


def logged(*losses: float | None) -> list[Metrics]:
    return [Metrics(step=step, epoch=0, loss=loss) for step, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("evaluation", "metrics", "want"),
    [
        pytest.param(evaluated(2.0, 9.5), logged(3.0, 1.0), "held-out loss 2.0000", id="held-out"),
        pytest.param(evaluated(2.0, 1.5), logged(1.0, 3.0), None, id="held-out-decides"),
        pytest.param(evaluated(2.0, 2.0), [], None, id="no-change-is-no-harm"),
        pytest.param(None, logged(2.0, None, 5.0, None), "training loss 2.0000", id="no-rows"),
        pytest.param(Evaluation(), logged(2.0, 1.0), None, id="falling"),
        pytest.param(evaluated(None, None), logged(1.0, 4.0), "training loss 1.0000", id="no-loss"),
        pytest.param(None, [], None, id="nothing-known"),
        pytest.param(None, logged(2.0), None, id="one-line"),
    ],
)
def test_a_loss_that_rose_is_named(
    evaluation: Evaluation | None, metrics: list[Metrics], want: str | None
) -> None:
    said = made_worse(evaluation, metrics)
    assert said is None if want is None else str(said).partition(" before,")[0].endswith(want)
