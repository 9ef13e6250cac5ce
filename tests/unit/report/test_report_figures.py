from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan

import pytest

from ftctl.report import figures

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param(0.0, "0.0%", id="none"),
        pytest.param(2 / 3, "66.7%", id="rounded"),
        pytest.param(1.0, "100.0%", id="all"),
        pytest.param(nan, "-", id="nan"),
    ],
)
def test_a_share_is_written_as_a_percentage(share: float | None, text: str) -> None:
    assert figures.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param(0.0, "0.0", id="zero"),
        pytest.param(1.9834, "1.98", id="units"),
        pytest.param(0.01234, "0.0123", id="small"),
        pytest.param(0.0000012, "1.20e-06", id="tiny"),
        pytest.param(48210.4, "48,210", id="large"),
        pytest.param(1234567, "1,234,567", id="whole"),
        pytest.param(-0.5, "-0.500", id="negative"),
        pytest.param(inf, "inf", id="infinite"),
    ],
)
def test_a_number_keeps_three_significant_digits(value: float | None, text: str) -> None:
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param(999, "999 B", id="bytes"),
        pytest.param(1000, "1.0 kB", id="a-kilobyte"),
        pytest.param(999_960, "1.0 MB", id="never-1000.0-kB"),
        pytest.param(98_212_416, "98.2 MB", id="megabytes"),
        pytest.param(5 * 10**15, "5000.0 TB", id="beyond-the-last-unit"),
    ],
)
def test_a_size_is_written_in_the_nearest_unit(count: int | None, text: str) -> None:
    assert figures.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(None, "-", id="nothing"),
        pytest.param(0.2, "0 s", id="less-than-a-second"),
        pytest.param(59.6, "1 min", id="rounds-up-to-a-minute"),
        pytest.param(372, "6 min 12 s", id="two-units"),
        pytest.param(7260, "2 h 1 min", id="hours"),
        pytest.param(90_000, "1 d 1 h", id="days"),
        pytest.param(inf, "-", id="never"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(-3, "0 s", id="clocks-differ"),
        pytest.param(59, "59 s", id="seconds"),
        pytest.param(150, "2 min", id="minutes"),
        pytest.param(7200, "2 h", id="hours"),
        pytest.param(8 * 86_400, "8 d", id="days"),
    ],
)
def test_an_age_has_one_unit(seconds: int, text: str) -> None:
    assert figures.age(NOON - timedelta(seconds=seconds), NOON) == text


def test_a_moment_is_written_in_utc() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=3)))
    assert figures.moment(there) == "2026-03-01 12:00:00 UTC"
    assert figures.clock(there) == "2026-03-01 12:00:00"


def test_a_limit_stands_as_it_was_written() -> None:
    assert [figures.limit(value) for value in (0.1, 1.05, 1.0, None)] == ["0.1", "1.05", "1", "-"]
