"""The outcome of a run as rows: before, after, each quantization, and what needs no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ftctl.contract.evaluation import Baselines, Evaluation, Overlap, Scores
from ftctl.contract.verification import OutputVerification, Verification
from ftctl.report.figures import NOTHING, number, percent

WIDTH = 100


@dataclass(frozen=True)
class OutcomeRow:
    """One model, or one baseline. Rates are shares, 0 to 1; None where nothing was measured."""

    name: str
    baseline: bool = False
    rows: int | None = None
    right_action: float | None = None
    groups: dict[str, float | None] = field(default_factory=dict)
    """Right action by script of the request."""
    valid_json: float | None = None
    exact_match: float | None = None
    perplexity: float | None = None
    mean_kl: float | None = None
    verified: bool | None = None


def outcome_rows(
    evaluation: Evaluation | None, verification: Verification | None
) -> list[OutcomeRow]:
    """Rows in the order of the pipeline, baselines last. Empty when nothing was measured yet."""
    evaluation = evaluation or Evaluation()
    proofs = {output.qtype: output for output in verification.outputs} if verification else {}
    rows = [
        _model_row(name, scores, None)
        for name, scores in (("before", evaluation.before), ("after", evaluation.after))
        if scores
    ]
    for qtype in dict.fromkeys([*evaluation.quantized, *proofs]):
        rows.append(_model_row(qtype, evaluation.quantized.get(qtype), proofs.get(qtype)))
    return rows + _baseline_rows(evaluation.baselines)


def script_names(rows: list[OutcomeRow]) -> list[str]:
    """The scripts that the rows tell apart; none when there is only one."""
    names = list(dict.fromkeys(name for row in rows for name in row.groups))
    return names if len(names) > 1 else []


def outcome_text(evaluation: Evaluation | None, verification: Verification | None) -> str:
    """
    The outcome as a plain table of at most 100 columns, with the notes that belong to it.

    Scripts that do not fit are left out; the report has them all.
    """
    rows = outcome_rows(evaluation, verification)
    if not rows:
        return "nothing measured yet"
    columns = _fitting(_columns(rows), rows)
    cells = [[header for header, _ in columns]]
    cells += [[cell(row) for _, cell in columns] for row in rows]
    return "\n".join([*align(cells), "", *outcome_notes(evaluation, verification)]).rstrip()


def outcome_notes(evaluation: Evaluation | None, verification: Verification | None) -> list[str]:
    """What the numbers need beside them, a sentence each."""
    evaluation = evaluation or Evaluation()
    notes = []
    action = evaluation.baselines.majority_action
    if action is not None:
        notes.append(f"majority: always answers {action}, the most frequent action in training.")
    if evaluation.baselines.keyword is not None:
        notes.append("keyword: the action that shares most word stems with the request.")
    if evaluation.overlap:
        notes.append(_overlap_note(evaluation.overlap))
    notes += _method_notes(evaluation)
    if verification and verification.adapter_shows:
        notes.append(verification.adapter_shows)
    if verification and verification.merged_onto:
        notes.append(verification.merged_onto)
    return notes


def align(cells: list[list[str]], *, left: int = 1) -> list[str]:
    """Lines of a table: the first `left` columns to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def verdict(passed: bool | None) -> str:
    """`passed`, `FAILED`, or `-` for what was not verified."""
    return NOTHING if passed is None else "passed" if passed else "FAILED"


Column = tuple[str, Callable[[OutcomeRow], str]]


def _columns(rows: list[OutcomeRow]) -> list[Column]:
    actions = any(row.right_action is not None for row in rows)
    wanted: list[tuple[bool, Column]] = [
        (True, ("", lambda row: row.name)),
        (actions, ("right action", lambda row: percent(row.right_action))),
        *((actions, (name, _script_cell(name))) for name in script_names(rows)),
        (
            any(row.valid_json is not None for row in rows),
            ("valid JSON", lambda row: percent(row.valid_json)),
        ),
        # Where answers name actions, wording is no measure of them.
        (
            not actions and any(row.exact_match is not None for row in rows),
            ("exact match", lambda row: percent(row.exact_match)),
        ),
        (
            any(row.perplexity is not None for row in rows),
            ("perplexity", lambda row: number(row.perplexity)),
        ),
        (any(row.mean_kl is not None for row in rows), ("KL", lambda row: number(row.mean_kl))),
        (
            any(row.verified is not None for row in rows),
            ("verified", lambda row: verdict(row.verified)),
        ),
    ]
    return [column for shown, column in wanted if shown]


def _script_cell(name: str) -> Callable[[OutcomeRow], str]:
    return lambda row: percent(row.groups.get(name))


def _fitting(columns: list[Column], rows: list[OutcomeRow]) -> list[Column]:
    """Leave out the scripts with the fewest rows, which stand last, until the table fits."""
    scripts = script_names(rows)
    while scripts and _width(columns, rows) > WIDTH:
        last = scripts.pop()
        columns = [column for column in columns if column[0] != last]
    return columns


def _width(columns: list[Column], rows: list[OutcomeRow]) -> int:
    widths = [max(len(header), *(len(cell(row)) for row in rows)) for header, cell in columns]
    return sum(widths) + 2 * (len(widths) - 1)


def _model_row(name: str, scores: Scores | None, proof: OutputVerification | None) -> OutcomeRow:
    measured: dict[str, float | None] = {}
    if scores:
        by_size = sorted(scores.groups.items(), key=lambda item: -item[1].rows)
        measured = {script: group.right_action for script, group in by_size}
    return OutcomeRow(
        name=name,
        rows=scores.rows if scores else None,
        right_action=scores.right_action if scores else None,
        groups=measured,
        valid_json=scores.valid_json if scores else None,
        exact_match=scores.exact_match if scores else None,
        perplexity=scores.perplexity if scores else None,
        mean_kl=proof.mean_kl if proof else None,
        verified=proof.passed if proof else None,
    )


def _baseline_rows(baselines: Baselines) -> list[OutcomeRow]:
    found = (
        ("majority", baselines.majority, baselines.majority_groups),
        ("keyword", baselines.keyword, baselines.keyword_groups),
    )
    return [
        OutcomeRow(name=name, baseline=True, right_action=rate, groups=dict(groups))
        for name, rate, groups in found
        if rate is not None
    ]


def _method_notes(evaluation: Evaluation) -> list[str]:
    """What preferences and rewards are trained for, which no column has."""
    before, after = evaluation.before or Scores(rows=0), evaluation.after or Scores(rows=0)
    notes = []
    if after.preference_accuracy is not None:
        notes.append(
            f"pairs: the chosen answer gained more in {percent(after.preference_accuracy)} of "
            f"held-out pairs, {number(after.reward_margin)} on average."
        )
    if after.moved_right is not None:
        notes.append(
            f"answers: {percent(after.moved_right)} of held-out answers moved the right way, "
            f"{number(after.reward_margin)} on average."
        )
    if after.chosen_likelier is not None:
        notes.append(
            f"pairs: the chosen answer is the likelier in {percent(after.chosen_likelier)}, "
            f"{percent(before.chosen_likelier)} before."
        )
    if after.reward is not None:
        notes.append(
            f"reward: the likeliest answers to held-out prompts get {number(after.reward)} on "
            f"average, {number(before.reward)} before."
        )
    return notes


def _overlap_note(overlap: Overlap) -> str:
    return (
        f"overlap: of {overlap.rows} held-out rows, {overlap.same_request} requests and "
        f"{overlap.same_prompt} whole prompts stand in the training rows."
    )
