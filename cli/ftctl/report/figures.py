"""How numbers, sizes and times are written for people. None is `-` everywhere."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NOTHING = "-"


def percent(share: float | None) -> str:
    """A share from 0 to 1, as in `86.7%`."""
    return NOTHING if share is None or not math.isfinite(share) else f"{share * 100:.1f}%"


def number(value: float | None, digits: int = 3) -> str:
    """A value with `digits` significant ones: 1.98, 0.0123, 48,210; tiny ones as 1.2e-06."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return str(value)
    if value == 0 or (isinstance(value, int) and not isinstance(value, bool)):
        return f"{value:,}"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"


def limit(value: float | None) -> str:
    """A value somebody chose, as they wrote it: 0.1, 1.05."""
    return NOTHING if value is None else f"{value:g}"


def size(count: int | None) -> str:
    """Bytes in the nearest decimal unit, as in `101.4 MB`."""
    if count is None:
        return NOTHING
    if count < 1000:
        return f"{count} B"
    power = 1
    while power < 4 and count >= 999.95 * 1000**power:
        power += 1
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units, as in `6 min 12 s`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    total = max(0, round(seconds))
    for unit_s, name, part_s, part in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if total >= unit_s:
            rest = total % unit_s // part_s
            return (
                f"{total // unit_s} {name} {rest} {part}" if rest else f"{total // unit_s} {name}"
            )
    return f"{total} s"


def age(since: datetime, at: datetime) -> str:
    """How long ago something was, in one unit: `5 s`, `12 min`, `3 h`, `8 d`."""
    seconds = max(0, round((at - since).total_seconds()))
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {name}"
    return f"{seconds} s"


def moment(time: datetime) -> str:
    """A time in UTC to the second, as in `2026-03-01 14:05:09 UTC`."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(time: datetime) -> str:
    """The same without the zone, for columns whose header names it."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
