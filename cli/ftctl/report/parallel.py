"""Parallel coordinates as inline SVG: a line a run through its values, ending at its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ftctl.report.axis import LOG_RATIO, Axis

HEIGHT, TOP, BOTTOM, SIDE, GAP = 340, 46, 24, 90, 150
# CSS pixels a unit, where the page is wide enough: a plot of two axes does not fill it.
SCALE = 1.25


@dataclass(frozen=True)
class Coordinate:
    """An axis of the plot: a name, and a value a run, None where it has none."""

    name: str
    values: Sequence[str | float | None]


@dataclass(frozen=True)
class Trace:
    """How a run is drawn: what it is called, and whether it is the best."""

    title: str
    best: bool = False


def parallel_coordinates(coordinates: Sequence[Coordinate], traces: Sequence[Trace]) -> str | None:
    """
    Draw runs over their values; the last coordinate is what came out.

    A run that lacks a value is left out. Values that all are numbers get a scale, logarithmic
    where they span much; others get a place each, in the order they come. Returns None where no
    run has all values.
    """
    whole = [
        index
        for index in range(len(traces))
        if all(coordinate.values[index] is not None for coordinate in coordinates)
    ]
    if not whole:
        return None
    scales = [_Scale([one.values[index] for index in whole]) for one in coordinates]
    width = 2 * SIDE + GAP * (len(coordinates) - 1)
    parts = [
        f'<svg class="curve parallel" viewBox="0 0 {width} {HEIGHT}" width="{SCALE * width:g}"'
        ' role="img"'
        ' aria-labelledby="parallel-title">',
        '<title id="parallel-title">A line a run through its values; the last axis is its score.'
        "</title>",
    ]
    # The best last, above the others.
    for index in sorted(whole, key=lambda one: traces[one].best):
        points = [
            (SIDE + GAP * place, scale.at(coordinate.values[index]))
            for place, (coordinate, scale) in enumerate(zip(coordinates, scales, strict=True))
        ]
        parts.append(_line(points, traces[index]))
    # Axes last: lines would cross out what is written at them.
    for place, (coordinate, scale) in enumerate(zip(coordinates, scales, strict=True)):
        parts += _axis(SIDE + GAP * place, coordinate.name, scale)
    return "\n".join([*parts, "</svg>"])


class _Scale:
    """Where a value stands on its axis, and the ticks that are written there."""

    def __init__(self, values: Sequence[str | float | None]) -> None:
        texts = list(dict.fromkeys(map(str, values)))
        numbers = [_number(text) for text in texts]
        self._places: dict[str, float] = {}
        self._axis: Axis | None = None
        self.log = False
        found = [value for value in numbers if value is not None]
        if len(found) == len(texts) and min(found) < max(found):
            low, high = min(found), max(found)
            self.log = low > 0 and high / low >= LOG_RATIO
            self._axis = Axis(low, high, HEIGHT - BOTTOM, TOP, log=self.log)
            inner = [tick for tick in self._axis.ticks(4) if low < tick < high]
            # Few values are written as they are, many by a scale.
            shown = sorted(found) if len(found) <= 6 else [low, *inner, high]
            self.ticks = [(self._axis.at(value), f"{value:.4g}") for value in shown]
            return
        span = HEIGHT - BOTTOM - TOP
        for index, text in enumerate(texts):
            share = 0.5 if len(texts) == 1 else index / (len(texts) - 1)
            self._places[text] = HEIGHT - BOTTOM - share * span
        self.ticks = [(at, text) for text, at in self._places.items()]

    def at(self, value: str | float | None) -> float:
        """The pixel of a value that the scale was made with."""
        text = str(value)
        return self._axis.at(float(text)) if self._axis else self._places[text]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _axis(x: float, name: str, scale: _Scale) -> list[str]:
    title = escape(name) + (" (log)" if scale.log else "")
    parts = [
        f'<line class="axis" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="label" x="{x}" y="{TOP - 22}" text-anchor="middle">{title}</text>',
    ]
    written: list[float] = []
    for at, text in scale.ticks:
        if all(abs(at - other) >= 13 for other in written):
            written.append(at)
            parts.append(
                f'<text class="tick" x="{x + 7}" y="{at + 4:.1f}">{escape(_cut(text))}</text>'
            )
    return parts


def _line(points: Sequence[tuple[float, float]], trace: Trace) -> str:
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    kind = "held-out best" if trace.best else "train"
    return f'<path class="line {kind}" d="M{path}"><title>{escape(trace.title)}</title></path>'


def _cut(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:13]}..."
