"""Scales of a plot: which values map where, and where the ticks stand."""

from __future__ import annotations

import math
from dataclasses import dataclass

# A range wider than this is drawn on a logarithmic axis: below it a straight one reads easier.
LOG_RATIO = 20


@dataclass(frozen=True)
class Axis:
    """Maps values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = self.low, self.high, value
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values within the range."""
        found = _log_ticks(self.low, self.high) if self.log else []
        return found if len(found) >= 3 else _linear_ticks(self.low, self.high, count)


def value_axis(values: list[float], start: float, end: float) -> Axis:
    """An axis for finite `values`, at least one: logarithmic if they span decades, else from 0."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_RATIO:
        return Axis(low / 1.15, high * 1.15, start, end, log=True)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    bottom = 0.0 if 0 <= low < 0.5 * high else low - margin
    return Axis(bottom, high + margin, start, end)


def step_axis(steps: list[int], start: float, end: float) -> Axis:
    """An axis for optimizer steps, at least one."""
    low, high = min(steps), max(steps)
    return Axis(low, high, start, end) if low < high else Axis(low - 1, high + 1, start, end)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    # Rounded, since 3 * 0.1 is 0.30000000000000004.
    return [round(index * step, 12) for index in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [unit * 10.0**decade for decade in decades for unit in (1, 2, 5)]
    return [round(tick, 12) for tick in found if low <= tick <= high]
