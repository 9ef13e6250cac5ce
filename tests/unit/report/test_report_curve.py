from __future__ import annotations

import re
from math import inf, nan
from xml.etree import ElementTree

import pytest

from ftctl.contract.status import Metrics
from ftctl.report.axis import Axis, step_axis, value_axis
from ftctl.report.curve import describe, held_out_points, loss_curve, training_points
from tests.report_records import metrics

NAMESPACE = "{http://www.w3.org/2000/svg}"


def lines(*losses: float | None) -> list[Metrics]:
    """A line a step, from step 1."""
    return [Metrics(step=i, epoch=0.0, loss=loss) for i, loss in enumerate(losses, start=1)]


def drawn(svg: str | None) -> ElementTree.Element:
    assert svg is not None
    return ElementTree.fromstring(svg)


def paths(svg: str | None, kind: str) -> list[str]:
    """The paths of a series, the legend's (the last) left out."""
    found = [e.get("d", "") for e in drawn(svg).iter("path") if e.get("class") == f"line {kind}"]
    return found[:-1]


def test_a_curve_has_both_series_the_resume_and_a_description() -> None:
    root = drawn(loss_curve(metrics(), [40]))
    texts = [element.text for element in root.iter("text")]
    assert root.find("title").text == "Loss over optimizer steps"  # type: ignore[union-attr]
    assert root.find("desc").text == (  # type: ignore[union-attr]
        "Training loss 2.88 at step 5, 0.234 at step 90. Lowest held-out loss 0.358 at step 90."
    )
    assert texts == [
        *("0", "1", "2", "3"),
        *("20", "40", "60", "80"),
        "optimizer step",
        "loss (nats per label token)",
        "resumed",
        "training",
        "held-out",
    ]


def test_the_two_series_differ_in_shape_and_not_in_colour_alone() -> None:
    root = drawn(loss_curve(metrics()))
    assert {e.get("class") for e in root.iter("circle")} == {"mark train"}
    assert {e.get("class") for e in root.iter("rect")} == {"mark held-out"}


def test_a_single_point_is_drawn_as_a_mark() -> None:
    svg = loss_curve(lines(2.0))
    marks = [e for e in drawn(svg).iter("circle") if e.find("title") is not None]
    assert [mark.find("title").text for mark in marks] == [  # type: ignore[union-attr]
        "step 1: training loss 2.000"
    ]
    assert "nan" not in (svg or "")


@pytest.mark.parametrize(
    "logged",
    [
        pytest.param([], id="no-lines"),
        pytest.param(lines(None), id="no-value"),
        pytest.param(lines(nan, inf, -inf), id="nothing-finite"),
    ],
)
def test_there_is_no_curve_without_a_finite_loss(logged: list[Metrics]) -> None:
    assert loss_curve(logged) is None


def test_a_loss_that_is_not_finite_breaks_the_line_and_is_told() -> None:
    logged = lines(3.0, 2.5, nan, 2.0, 1.5)
    (path,) = paths(loss_curve(logged), "train")
    assert re.sub(r"[\d. ]+", "", path) == "MLML"
    assert describe(logged) == (
        "Training loss 3.00 at step 1, 1.50 at step 5. 1 logged steps without a finite loss."
    )


def test_a_step_logged_again_after_a_resume_counts_once_and_late() -> None:
    logged = [*lines(3.0, 2.0), Metrics(step=2, epoch=0.1, loss=1.9)]
    assert training_points(logged) == [(1, 3.0), (2, 1.9)]


def test_held_out_lines_are_no_training_points() -> None:
    logged = [*lines(3.0), Metrics(step=1, epoch=0.1, eval_loss=2.8)]
    assert training_points(logged) == [(1, 3.0)]
    assert held_out_points(logged) == [(1, 2.8)]


def test_a_loss_over_decades_is_drawn_on_a_logarithmic_axis() -> None:
    svg = loss_curve(lines(8.0, 1.0, 0.1, 0.01))
    assert "loss (nats per label token, log scale)" in (svg or "")


def test_a_long_run_is_thinned_and_keeps_its_spike() -> None:
    losses = [1.0 + index / 10_000 for index in range(20_000)]
    losses[12_345] = 9.0
    svg = loss_curve(lines(*losses))
    (path,) = paths(svg, "train")
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
    assert len(points) <= 800
    top = min(points, key=lambda point: float(point[1]))
    assert float(top[0]) == pytest.approx(62 + 12_345 / 19_999 * (760 - 16 - 62), abs=1)


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        pytest.param(Axis(0, 3.1, 0, 1), [0, 1, 2, 3], id="from-zero"),
        pytest.param(Axis(0.0, 0.35, 0, 1), [0.0, 0.1, 0.2, 0.3], id="no-0.30000000004"),
        pytest.param(
            Axis(0.01, 10, 0, 1, log=True),
            [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
            id="decades",
        ),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks() == ticks


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        pytest.param([2.0], 1.8, 2.2, id="one-value"),
        pytest.param([0.0], -1.0, 1.0, id="only-zero"),
        pytest.param([-2.0, -1.0], -2.06, -0.94, id="negative"),
    ],
)
def test_an_axis_of_equal_or_negative_values_has_a_range(
    values: list[float], low: float, high: float
) -> None:
    axis = value_axis(values, 0, 1)
    assert (axis.low, axis.high) == pytest.approx((low, high))


def test_a_single_step_stands_in_the_middle() -> None:
    assert step_axis([7], 0, 100).at(7) == 50
