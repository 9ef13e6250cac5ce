"""The loss of a run as inline SVG: no script, styled by the page it stands in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from ftctl.contract.status import Metrics
from ftctl.report.axis import Axis, step_axis, value_axis
from ftctl.report.figures import number

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 30, 50
# Beyond these a mark on every point is clutter, and a longer path shows nothing more.
MOST_MARKS, MOST_POINTS = 80, 800

Points = list[tuple[int, float | None]]


def loss_curve(metrics: Sequence[Metrics], resumed_steps: Sequence[int] = ()) -> str | None:
    """
    Draw training and held-out loss over optimizer steps.

    A step logged twice, before and after a resume, counts once, the later line; a loss that is
    not finite leaves a gap. Returns None when there is no finite loss at all.
    """
    train, held_out = training_points(metrics), held_out_points(metrics)
    values = [value for _, value in train + held_out if value is not None]
    if not values:
        return None
    x = step_axis([step for step, _ in train + held_out], LEFT, WIDTH - RIGHT)
    y = value_axis(values, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-labelledby="curve-title curve-text">',
        '<title id="curve-title">Loss over optimizer steps</title>',
        f'<desc id="curve-text">{describe(metrics)}</desc>',
        *_grid(x, y),
        *(_resumed(x.at(step), step) for step in resumed_steps if x.low <= step <= x.high),
        *_series("train", "training loss", train, x, y),
        *_series("held-out", "held-out loss", held_out, x, y),
        *_legend(bool(held_out)),
        "</svg>",
    ]
    return "\n".join(parts)


def training_points(metrics: Sequence[Metrics]) -> Points:
    """Step and training loss, None where it is not finite; in order, each step once."""
    found = {line.step: line.loss for line in metrics if line.eval_loss is None}
    return [(step, _finite(loss)) for step, loss in sorted(found.items())]


def held_out_points(metrics: Sequence[Metrics]) -> Points:
    """The same of the held-out loss."""
    found = {line.step: line.eval_loss for line in metrics if line.eval_loss is not None}
    return [(step, _finite(loss)) for step, loss in sorted(found.items())]


def describe(metrics: Sequence[Metrics]) -> str:
    """What the curve shows, in words."""
    sentences = []
    points = training_points(metrics)
    train = [(step, loss) for step, loss in points if loss is not None]
    if train:
        (first, start), (last, end) = train[0], train[-1]
        sentences.append(
            f"Training loss {number(start)} at step {first}, {number(end)} at step {last}."
        )
    held_out = [(loss, step) for step, loss in held_out_points(metrics) if loss is not None]
    if held_out:
        best, step = min(held_out)
        sentences.append(f"Lowest held-out loss {number(best)} at step {step}.")
    if len(train) < len(points):
        sentences.append(f"{len(points) - len(train)} logged steps without a finite loss.")
    return " ".join(sentences)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _grid(x: Axis, y: Axis) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = []
    for value in y.ticks():
        at = y.at(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
        )
    for value in x.ticks(8):
        if value == int(value):
            parts.append(
                f'<text class="tick" x="{x.at(value):.1f}" y="{bottom + 18}"'
                f' text-anchor="middle">{value:,.0f}</text>'
            )
    middle = (TOP + bottom) / 2
    scale = ", log scale" if y.log else ""
    parts += [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>',
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}"'
        ' text-anchor="middle">optimizer step</text>',
        f'<text class="label" transform="translate(16 {middle}) rotate(-90)"'
        f' text-anchor="middle">loss (nats per label token{scale})</text>',
    ]
    return parts


def _series(kind: str, name: str, points: Points, x: Axis, y: Axis) -> list[str]:
    """A line through the finite points, broken at gaps, and a mark on each where few."""
    drawn = _thinned(points)
    path = []
    pen = "M"
    for step, value in drawn:
        if value is None:
            pen = "M"
            continue
        path.append(f"{pen}{x.at(step):.1f} {y.at(value):.1f}")
        pen = "L"
    parts = [f'<path class="line {kind}" d="{"".join(path)}"/>'] if path else []
    marked = [(step, value) for step, value in points if value is not None]
    if len(marked) > MOST_MARKS:
        return parts
    for step, value in marked:
        title = f"<title>step {step}: {name} {number(value, 4)}</title>"
        parts.append(_mark(kind, x.at(step), y.at(value), title))
    return parts


def _mark(kind: str, x: float, y: float, title: str = "") -> str:
    """A dot for training, a square for held-out rows: told apart without colour."""
    if kind == "train":
        return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.6">{title}</circle>'
    return (
        f'<rect class="mark {kind}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">'
        f"{title}</rect>"
    )


def _thinned(points: Points) -> Points:
    """At most MOST_POINTS, keeping the lowest and the highest of each stretch."""
    if len(points) <= MOST_POINTS:
        return points
    edges = [round(index * len(points) * 2 / MOST_POINTS) for index in range(MOST_POINTS // 2 + 1)]
    kept: Points = []
    for start, stop in pairwise(edges):
        stretch = points[start:stop]
        finite = [point for point in stretch if point[1] is not None]
        if len(finite) < len(stretch):
            kept.append((stretch[0][0], None))
        extremes = {min(finite, key=_loss), max(finite, key=_loss)} if finite else set()
        kept += sorted(extremes)
    return kept


def _loss(point: tuple[int, float | None]) -> float:
    return math.inf if point[1] is None else point[1]


def _resumed(x: float, step: int) -> str:
    return (
        f'<g class="resumed"><title>training resumed from step {step}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{x + 4:.1f}" y="{TOP + 11}">resumed</text></g>'
    )


def _legend(held_out: bool) -> list[str]:
    entries = [("train", "training")] + [("held-out", "held-out")] * held_out
    parts = []
    for index, (kind, text) in enumerate(entries):
        left = LEFT + index * 110
        parts.append(f'<path class="line {kind}" d="M{left} 14L{left + 28} 14"/>')
        parts.append(_mark(kind, left + 14, 14))
        parts.append(f'<text class="label" x="{left + 36}" y="18">{text}</text>')
    return parts
