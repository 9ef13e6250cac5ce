"""A sweep as one HTML file that needs no network, no script, and no other file."""

from __future__ import annotations

from collections.abc import Sequence

from ftctl.contract.sweep import LOWER_IS_BETTER, Sweep
from ftctl.report.html import template
from ftctl.report.parallel import Coordinate, Trace, parallel_coordinates
from ftctl.report.sweep import (
    MEASURES,
    SweepRow,
    best_of,
    counted,
    measured,
    ranked,
    short_keys,
    shown_score,
)


def render_sweep(sweep: Sweep, rows: Sequence[SweepRow]) -> str:
    """Render the page. Pure: equal sweeps and rows give equal pages; values are escaped."""
    from markupsafe import Markup

    plot = _plot(sweep, rows)
    return template("sweep.html.j2").render(
        sweep=sweep,
        rows=ranked(rows, sweep.objective),
        keys=short_keys([axis.key for axis in sweep.axes]),
        measures={measure: MEASURES[measure] for measure in measured(rows)},
        shown=shown_score,
        objective=MEASURES[sweep.objective],
        lower=sweep.objective in LOWER_IS_BETTER,
        best=best_of(rows, sweep.objective),
        counted=counted(rows),
        # Its texts are escaped where it is made.
        plot=Markup(plot) if plot else None,
    )


def _plot(sweep: Sweep, rows: Sequence[SweepRow]) -> str | None:
    names = short_keys([axis.key for axis in sweep.axes])
    coordinates = [
        Coordinate(name, [row.values.get(key) for row in rows]) for key, name in names.items()
    ]
    scores = [row.score(sweep.objective) for row in rows]
    coordinates.append(Coordinate(MEASURES[sweep.objective], scores))
    traces = [
        Trace(f"{row.run_id}: {shown_score(row, sweep.objective)}", best=row.best) for row in rows
    ]
    return parallel_coordinates(coordinates, traces)
