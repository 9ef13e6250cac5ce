"""Rows of a step: the run's own, however many devices share them."""

from __future__ import annotations

import pytest

from ftctl.contract.batches import Share, rows_of_step, share_of
from ftctl.contract.spec import TrainingConfig
from ftctl.errors import ConfigError


@pytest.mark.parametrize(
    ("rows", "passes", "world", "share"),
    [
        pytest.param(1, 4, 1, Share(1, 4), id="one-device"),
        pytest.param(1, 4, 2, Share(1, 2), id="fewer-passes"),
        pytest.param(8, 2, 4, Share(4, 1), id="smaller-passes"),
        pytest.param(8, 3, 2, Share(6, 2), id="the-largest-pass-that-divides"),
        pytest.param(8, 2, 16, Share(1, 1), id="a-row-each"),
    ],
)
def test_devices_have_equally_many_rows_and_together_those_of_the_step(
    rows: int, passes: int, world: int, share: Share
) -> None:
    training = TrainingConfig(per_device_train_batch_size=rows, gradient_accumulation_steps=passes)

    assert share_of(training, world) == share
    assert world * share.rows * share.passes == rows_of_step(training) == rows * passes


@pytest.mark.parametrize("world", [3, 5, 8])
def test_rows_that_cannot_be_shared_equally_are_refused(world: int) -> None:
    with pytest.raises(ConfigError, match=f"4 rows a step cannot be shared equally by {world}"):
        share_of(TrainingConfig(gradient_accumulation_steps=4), world)
