"""Where what layers keep for the backward pass has its place."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ftctl_trainer.model.fast.places import Cost, Places, share_out

COST = Cost(rest=30, gates=50, entering=8, again_s=1.0, gates_s=0.4)
PLENTY = 10**6


@pytest.mark.parametrize(
    ("device", "main", "link", "away", "gates", "stay"),
    [
        pytest.param(800, PLENTY, PLENTY, 0, 0, 10, id="all-stays-where-it-fits"),
        pytest.param(799, PLENTY, PLENTY, 1, 1, 9, id="the-rest-leaves"),
        pytest.param(0, PLENTY, PLENTY, 10, 10, 0, id="all-leaves"),
        pytest.param(0, PLENTY, 449, 10, 2, 0, id="gates-as-the-link-allows"),
        pytest.param(0, 350, PLENTY, 10, 1, 0, id="gates-as-main-memory-allows"),
        pytest.param(80, 150, PLENTY, 5, 0, 0, id="the-others-are-computed-again"),
        pytest.param(80, PLENTY, 0, 0, 0, 0, id="no-link"),
        pytest.param(80, -1, PLENTY, 0, 0, 0, id="no-main-memory"),
        pytest.param(152, PLENTY, 0, 0, 0, 1, id="no-link-and-room-for-one"),
        pytest.param(-5, PLENTY, PLENTY, 10, 10, 0, id="no-room-at-all"),
        pytest.param(200, PLENTY, 350, 8, 2, 2, id="two-stay"),
        pytest.param(110, PLENTY, 330, 10, 2, 0, id="what-is-late-need-not-leave"),
    ],
)
def test_layers_are_shared_out(
    device: float, main: float, link: float, away: int, gates: int, stay: int
) -> None:
    found = share_out(10, COST, device=device, main=main, link=link)

    assert (found.away, found.gates, found.stay) == (away, gates, stay)
    assert found.main == 30 * away + 50 * gates
    assert found.room == device - 8 * (10 - away - stay)


@pytest.mark.parametrize(("away", "gates"), [(10, 3), (7, 7), (4, 0), (9, 5)])
def test_gates_are_spread_among_the_layers_away(away: int, gates: int) -> None:
    places = Places(away, gates, 0, 0, 0)
    found = [layer for layer in range(12) if places.gates_leave(layer)]

    assert len(found) == gates
    assert all(layer < away for layer in found)
    steps = [after - before for before, after in pairwise(found)]
    assert not steps or max(steps) - min(steps) <= 1
    # Of the first so many layers, their share: they do not come all at once.
    for first in range(away + 1):
        assert abs(sum(layer < first for layer in found) - first * gates / away) < 1
