"""The report: one HTML file that needs no network, no script, and no other file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ftctl.report import figures
from ftctl.report.curve import describe, loss_curve
from ftctl.report.record import RunRecord
from ftctl.report.samples import judged_samples
from ftctl.report.settings import changed_settings, config_text
from ftctl.report.table import OutcomeRow, outcome_notes, outcome_rows, script_names
from ftctl.report.timeline import timeline

if TYPE_CHECKING:
    from jinja2 import Template


def render_report(record: RunRecord) -> str:
    """
    Render the report of a run. Pure: equal records give equal pages.

    Whatever came from data, models or users is escaped; a part that is missing is said to be.
    """
    return template("report.html.j2").render(**_context(record))


@cache
def template(name: str) -> Template:
    """A page of this folder, with the filters that write numbers."""
    # 40 ms that most commands do without.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ftctl.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for figure in ("percent", "number", "limit", "size", "duration", "moment", "clock"):
        environment.filters[figure] = getattr(figures, figure)
    return environment.get_template(name)


def _context(record: RunRecord) -> dict[str, Any]:
    from markupsafe import Markup

    rows = outcome_rows(record.evaluation, record.verification)
    curve = loss_curve(record.metrics, record.resumed_steps)
    config = record.run.config if record.run else None
    return {
        "record": record,
        "abandoned": record.abandoned,
        "rows": rows,
        "scripts": script_names(rows),
        "notes": outcome_notes(record.evaluation, record.verification),
        "headline": _headline(rows),
        # The one piece of markup made elsewhere: numbers and fixed words, nothing from data.
        "curve": Markup(curve) if curve else None,
        "curve_text": describe(record.metrics),
        "samples": judged_samples(record.evaluation),
        "evaluated": len(record.evaluation.samples) if record.evaluation else 0,
        "settings": changed_settings(config) if config else [],
        "config_text": config_text(config) if config else None,
        "timeline": timeline(record.events),
    }


def _headline(rows: list[OutcomeRow]) -> str | None:
    """The outcome in a sentence, by the measure that the rows have."""
    found = {row.name: row for row in rows if not row.baseline}
    before, after = found.get("before"), found.get("after")
    if not before or not after:
        return None
    quantized = [row for row in found.values() if row.name not in ("before", "after")]
    write: Callable[[float | None], str]
    if after.right_action is not None:
        measure, start, end = "Right action", before.right_action, after.right_action
        write, values = figures.percent, {row.name: row.right_action for row in quantized}
    elif after.perplexity is not None:
        measure, start, end = "Perplexity", before.perplexity, after.perplexity
        write, values = figures.number, {row.name: row.perplexity for row in quantized}
    else:
        return None
    parts = [f"{write(start)} before", f"{write(end)} after"]
    parts += [f"{write(value)} as {name}" for name, value in values.items() if value is not None]
    return f"{measure}: {', '.join(parts)}."
