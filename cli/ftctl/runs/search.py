"""Chooses the next child of a search by what came of those before (Optuna's TPE sampler)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftctl.contract.sweep import LOWER_IS_BETTER, Axis, Objective
from ftctl.errors import UsageError


@dataclass(frozen=True)
class Told:
    """A child that was chosen: its values, and its score; None while it goes on, or without one."""

    values: dict[str, str]
    score: float | None
    ended: bool


def require_search() -> None:
    """Refuse a search where Optuna is missing. Raises UsageError."""
    import importlib.util

    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "a search needs optuna, which this installation lacks",
            hint="Install it: pip install 'ftctl[sweep]'; or list values, without --search.",
        )


def suggest(
    axes: Sequence[Axis], told: Sequence[Told], *, objective: Objective, seed: int
) -> dict[str, str]:
    """
    The values of the next child. Equal arguments give equal values: nothing is kept in between.

    The sampler is made anew, with the seed and the number of children, and told everything that the
    store has. Children that go on count as bad ones, so that others look elsewhere.

    Args:
        told: the children so far, in the order they were chosen.
    Raises:
        UsageError: Optuna is not installed.
    """
    require_search()
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed + len(told), constant_liar=True)
    direction = "minimize" if objective in LOWER_IS_BETTER else "maximize"
    study = optuna.create_study(sampler=sampler, direction=direction)
    spaces = {axis.key: _distribution(axis) for axis in axes}
    for one in told:
        state = TrialState.COMPLETE if one.score is not None else TrialState.FAIL
        study.add_trial(
            optuna.trial.create_trial(
                params={axis.key: _parameter(axis, one.values[axis.key]) for axis in axes},
                distributions=spaces,
                value=one.score,
                state=state if one.ended else TrialState.RUNNING,
            )
        )
    trial = study.ask(spaces)
    return {axis.key: _text(axis, trial.params[axis.key]) for axis in axes}


def _distribution(axis: Axis) -> Any:
    from optuna import distributions

    if not axis.is_range:
        return distributions.CategoricalDistribution(axis.values)
    assert axis.low is not None
    assert axis.high is not None
    if axis.whole:
        return distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
    return distributions.FloatDistribution(axis.low, axis.high, log=axis.log)


def _parameter(axis: Axis, text: str) -> str | int | float:
    if not axis.is_range:
        return text
    return int(text) if axis.whole else float(text)


def _text(axis: Axis, value: str | int | float) -> str:
    """Three digits say all that a learning rate is worth, and read well in a table."""
    if not isinstance(value, float):
        return str(value)
    assert axis.low is not None
    assert axis.high is not None
    return str(min(max(float(f"{value:.3g}"), axis.low), axis.high))
