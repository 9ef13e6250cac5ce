"""The order of an epoch's rows."""

from __future__ import annotations

import pytest

from ftctl_trainer.processes.rows import epoch_order

LENGTHS = [5 + 7 * n % 40 for n in range(400)]


@pytest.mark.parametrize("sampling", ["random", "group_by_length"])
def test_an_epoch_has_the_same_order_whatever_came_before(sampling: str) -> None:
    whole, resumed = (epoch_order(sampling, LENGTHS, rows_of_step=4, seed=3) for _ in range(2))
    orders = []
    for epoch in range(3):
        whole.set_epoch(epoch)
        orders.append(list(whole))
    resumed.set_epoch(2)
    assert list(resumed) == orders[2]
    assert orders[2] not in orders[:2]
    assert all(sorted(order) == list(range(len(LENGTHS))) for order in orders)


def test_rows_of_a_step_are_of_like_length() -> None:
    order = list(epoch_order("group_by_length", LENGTHS, rows_of_step=4, seed=3))
    steps = [[LENGTHS[n] for n in order[first : first + 4]] for first in range(0, 400, 4)]
    spread = sum(max(step) - min(step) for step in steps) / len(steps)
    assert spread < (max(LENGTHS) - min(LENGTHS)) / 3
