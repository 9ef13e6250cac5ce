"""How runs differ, side by side: what went in, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.report.curve import held_out_points, training_points
from ftctl.report.figures import NOTHING, duration, number, percent, size
from ftctl.report.record import RunRecord
from ftctl.report.settings import flat_settings
from ftctl.report.table import OutcomeRow, align, outcome_rows, verdict

# Beyond this a value is cut in the text; JSON has it whole.
_WIDEST = 48
# Where and how a run happened is no reason for its results.
_OPERATIONAL = ("cluster.", "storage.", "tracking.", "paths.", "other.")

Values = tuple[Any, ...]


@dataclass(frozen=True)
class Line:
    """One thing that is compared; a value a run, None where it has none."""

    name: str
    values: Values
    shown: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(map(str, self.values))) > 1


@dataclass(frozen=True)
class Comparison:
    """Runs in the order asked for. `inputs` are those that differ; `results` are all."""

    runs: tuple[str, ...]
    inputs: tuple[Line, ...]
    results: tuple[Line, ...]
    problems: tuple[str, ...] = ()


def compare(records: Sequence[RunRecord]) -> Comparison:
    """Lay runs side by side. What decides a result is compared; where it was made is not."""
    return Comparison(
        runs=tuple(record.run_id for record in records),
        inputs=tuple(line for line in _inputs(records) if line.differs),
        results=tuple(_results(records)),
        problems=tuple(
            f"{record.run_id}: {problem}" for record in records for problem in record.problems
        ),
    )


def comparison_text(found: Comparison) -> str:
    """Two tables, a column a run; runs are named by number, as ids are long."""
    heads = [f"[{number}]" for number in range(1, len(found.runs) + 1)]
    lines = [f"{head} {run}" for head, run in zip(heads, found.runs, strict=True)]
    for title, rows in (("differs", found.inputs), ("result", found.results)):
        if rows:
            cells = [[title, *heads], *([row.name, *map(_cut, row.shown)] for row in rows)]
            lines += ["", *align(cells)]
    if not found.inputs:
        lines += ["", "the runs have the same inputs"]
    return "\n".join(lines)


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "runs": list(found.runs),
        "inputs": [{"name": line.name, "values": list(line.values)} for line in found.inputs],
        "results": [{"name": line.name, "values": list(line.values)} for line in found.results],
        "problems": list(found.problems),
    }


def _inputs(records: Sequence[RunRecord]) -> list[Line]:
    settings = [flat_settings(record.run.config) if record.run else {} for record in records]
    keys = dict.fromkeys(key for flat in settings for key in flat)
    lines = [
        _line(key, [flat.get(key) for flat in settings], str)
        for key in keys
        if not key.startswith(_OPERATIONAL)
    ]
    runs = [record.run for record in records]
    return [
        _line(
            "base model", [run and f"{run.model.name}@{run.model.revision}" for run in runs], str
        ),
        _line("data set", [run and run.data.digest for run in runs], str),
        _line("prompt layout", [run and run.template for run in runs], _first_line),
        *lines,
    ]


def _results(records: Sequence[RunRecord]) -> list[Line]:
    lines = [
        _line("state", [record.state for record in records], str),
        _line("steps", [record.step or None for record in records], number),
        _line("training loss", [_last(training_points(it.metrics)) for it in records], number),
        _line("held-out loss", [_last(held_out_points(it.metrics)) for it in records], number),
        _line("lowest held-out loss", [_least(it) for it in records], number),
        _line("time", [record.elapsed_s for record in records], duration),
    ]
    tables = [
        {row.name: row for row in outcome_rows(record.evaluation, record.verification)}
        for record in records
    ]
    for name in dict.fromkeys(name for table in tables for name in table):
        lines += _outcome(name, [table.get(name) for table in tables])
    lines += _sizes(records)
    return [line for line in lines if any(value is not None for value in line.values)]


def _outcome(name: str, rows: Sequence[OutcomeRow | None]) -> list[Line]:
    """The measures of one model, or one baseline, over the runs."""
    measures: tuple[tuple[str, Callable[[OutcomeRow], Any], Callable[[Any], str]], ...] = (
        ("right action", lambda row: row.right_action, percent),
        ("valid JSON", lambda row: row.valid_json, percent),
        ("exact match", lambda row: row.exact_match, percent),
        ("perplexity", lambda row: row.perplexity, number),
        ("KL", lambda row: row.mean_kl, number),
        ("verified", lambda row: row.verified, verdict),
    )
    return [
        _line(f"{name}: {measure}", [row and value(row) for row in rows], show)
        for measure, value, show in measures
    ]


def _sizes(records: Sequence[RunRecord]) -> list[Line]:
    """Sizes of the published files by type, which their names may differ in."""
    found = []
    for record in records:
        files = {file.name: file.size for file in record.gguf}
        outputs = record.verification.outputs if record.verification else []
        found.append({output.qtype: _size(output.files, files) for output in outputs})
    names = dict.fromkeys(name for sizes in found for name in sizes)
    return [_line(f"{name}: size", [sizes.get(name) for sizes in found], size) for name in names]


def _size(parts: Sequence[str], sizes: Mapping[str, int]) -> int | None:
    """Bytes of a file's parts; None where one of them is missing."""
    if any(name not in sizes for name in parts):
        return None
    return sum(sizes[name] for name in parts)


def _line(name: str, values: Sequence[Any], show: Callable[[Any], str]) -> Line:
    shown = (NOTHING if value is None else show(value) for value in values)
    return Line(name, tuple(values), tuple(shown))


def _last(points: Sequence[tuple[int, float | None]]) -> float | None:
    return points[-1][1] if points else None


def _least(record: RunRecord) -> float | None:
    losses = [loss for _, loss in held_out_points(record.metrics) if loss is not None]
    return min(losses, default=None)


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "")


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
