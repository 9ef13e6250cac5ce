"""When a child of a sweep falls behind: the median rule on held-out loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from ftctl.contract.status import Metrics
from ftctl.report.curve import Points, held_out_points
from ftctl.report.figures import number

# With fewer, a median says little of what can be had.
LEAST_OTHERS = 3


def falls_behind(
    own: Sequence[Metrics], others: Sequence[Sequence[Metrics]], *, least: int = LEAST_OTHERS
) -> str | None:
    """
    Why a run need not go on, or None.

    It need not when its lowest held-out loss so far is above the median of what others had reached
    by the same step. A run whose held-out loss is not finite is behind at once. After the median
    stopping rule of Google Vizier (Golovin et al., KDD 2017, section 3.2.2), which averages over
    the steps of the others; a loss that mostly falls would make that median too high.

    Args:
        own: metrics of the run.
        others: those of the other children, ended or not.
        least: others that must have come as far.
    """
    points = held_out_points(own)
    if not points:
        return None
    step, last = points[-1]
    if last is None:
        return f"its held-out loss is not finite at step {step}"
    lowest = _lowest(points, step)
    reached = [_lowest(there, step) for there in map(held_out_points, others) if _came(there, step)]
    if len(reached) < least:
        return None
    middle = median(reached)
    if lowest <= middle:
        return None
    return (
        f"at step {step} its lowest held-out loss is {number(lowest, 4)}, "
        f"the median of {len(reached)} others {number(middle, 4)}"
    )


def _came(points: Points, step: int) -> bool:
    return bool(points) and points[-1][0] >= step


def _lowest(points: Points, step: int) -> float:
    """The lowest loss up to a step; infinite where none was finite."""
    return min((loss for at, loss in points if at <= step and loss is not None), default=math.inf)
