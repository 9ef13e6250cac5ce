"""From swept overrides to a sweep and the runs it is made of. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftctl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from ftctl.config.axes import Swept
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.spec import Config
    from ftctl.contract.sweep import Axis, Objective, Sweep
    from ftctl.runs.prepare import Prepared

# A typing error in range() is found before it is composed.
MOST = 1000

Resolve = Callable[["Config"], "Prepared"]


@dataclass(frozen=True)
class Wanted:
    """What decides a sweep besides its runs."""

    objective: Objective
    stop_bad: bool
    alias: str | None
    trials: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Planned:
    """A sweep, its runs (of a search its base), and the rows that they were made from."""

    sweep: Sweep
    runs: tuple[RunFile, ...]
    prepared: tuple[Prepared, ...]
    """Those whose inputs were read: the other runs have the same model and rows as the first."""


class Planner:
    """Composes children: one override list, with the values of a child behind it."""

    def __init__(
        self, swept: Swept, *, config_dir: Path | None, config_name: str | None, resolve: Resolve
    ) -> None:
        self._swept = swept
        self._known: dict[tuple[str, ...], Prepared] = {}
        self._config_dir, self._config_name = config_dir, config_name
        self._resolve = resolve

    def prepared(self, values: Mapping[str, str]) -> Prepared:
        """A child composed and resolved as `ftctl run` does it, once. Raises what that raises."""
        lines = tuple(f"{key}={value}" for key, value in values.items())
        if lines not in self._known:
            self._known[lines] = self._prepared(lines)
        return self._known[lines]

    def _prepared(self, lines: Sequence[str]) -> Prepared:
        from ftctl.config.compose import compose

        overrides = [*self._swept.fixed, *lines]
        config = compose(overrides, config_dir=self._config_dir, config_name=self._config_name)
        _refuse_shared_outputs(config)
        prepared = self._resolve(config)
        if not prepared.run.data.rows.get("eval"):
            raise ConfigError(
                "there are no held-out rows, by which the runs of a sweep are compared",
                where="dataset.eval",
                hint="Name some, or set dataset.eval_fraction=0.1.",
            )
        return prepared


def plan_sweep(swept: Swept, planner: Planner, wanted: Wanted) -> Planned:
    """
    Resolve all runs of a sweep; of a search, the one that others are made from.

    Raises:
        ConfigError: a child is refused, two children are the same run, or a search cannot be made
            by changing its keys alone.
        UsageError: there are too many combinations.
    """
    if wanted.trials is not None:
        return _plan_search(swept, planner, wanted, wanted.trials)
    return _plan_grid(swept, planner, wanted)


def _plan_grid(swept: Swept, planner: Planner, wanted: Wanted) -> Planned:
    from ftctl.contract.sweep import Child, sweep_hash

    count = 1
    for axis in swept.axes:
        count *= len(axis.values)
    if count > MOST:
        raise UsageError(
            f"{count:,} combinations are more than {MOST:,}",
            where="arguments",
            hint="Take fewer values, or let --search N choose among them.",
        )
    combinations = list(swept.combinations())
    prepared, runs = _runs(combinations, swept.axes, planner)
    _refuse_same(runs, combinations)
    digest = sweep_hash(
        [run.content_hash for run in runs], objective=wanted.objective, stop_bad=wanted.stop_bad
    )
    children = [
        Child(run_id=run.run_id, values=values)
        for run, values in zip(runs, combinations, strict=True)
    ]
    sweep = _sweep(swept, runs[0], digest, wanted, children=children)
    return Planned(sweep, tuple(runs), tuple(prepared))


def _plan_search(swept: Swept, planner: Planner, wanted: Wanted, trials: int) -> Planned:
    from ftctl.contract.sweep import Search, sweep_hash
    from ftctl.runs.search import require_search
    from ftctl.runs.vary import can_vary

    require_search()
    bad = [axis.key for axis in swept.axes if not can_vary(axis.key)]
    if bad:
        raise ConfigError(
            f"{', '.join(bad)} cannot be searched: another value is another model or data set",
            where="--search",
            hint="Make a sweep of it, with its values listed and without --search.",
        )
    first, last = (corner(swept.axes, end) for end in (0, -1))
    prepared = [planner.prepared(first), planner.prepared(last)]
    base = prepared[0].run
    if varied_run(base, last).content_hash != prepared[1].run.content_hash:
        raise ConfigError(
            "another key takes its value from one that is searched",
            where="--search",
            hint="Write that value out, or make a sweep with values listed.",
        )
    digest = sweep_hash(
        [base.content_hash],
        objective=wanted.objective,
        stop_bad=wanted.stop_bad,
        axes=swept.axes,
        trials=trials,
        seed=wanted.seed,
    )
    search = Search(trials=trials, seed=wanted.seed, base=base)
    return Planned(_sweep(swept, base, digest, wanted, search=search), (base,), tuple(prepared[:1]))


def _runs(
    combinations: Sequence[Mapping[str, str]], axes: Sequence[Axis], planner: Planner
) -> tuple[list[Prepared], list[RunFile]]:
    """
    The runs of all combinations.

    Where keys differ that no file is read for, one is composed, and the others are made from it;
    that this gives the same shows at their last values, beside all values of the other keys.
    """
    from ftctl.runs.vary import can_vary

    first, last = combinations[0], combinations[-1]
    changed = [axis.key for axis in axes if can_vary(axis.key)]

    def is_same(values: Mapping[str, str], free: Sequence[str]) -> bool:
        begin, end = ({key: ends[key] for key in free} for ends in (first, last))
        made = varied_run(planner.prepared({**values, **begin}).run, end)
        return made.content_hash == planner.prepared({**values, **end}).run.content_hash

    def is_same_everywhere(free: Sequence[str]) -> bool:
        """Another key may decide: a seed chooses held-out rows where a data set brings none."""
        others = {
            tuple(value for key, value in values.items() if key not in free): values
            for values in combinations
        }
        return all(is_same(values, free) for values in others.values())

    free = changed
    if not is_same_everywhere(free):
        # As a seed that chooses the held-out rows is not.
        free = [key for key in changed if is_same(first, [key])]
    return _made(combinations, free if is_same_everywhere(free) else [], planner)


def _made(
    combinations: Sequence[Mapping[str, str]], free: Sequence[str], planner: Planner
) -> tuple[list[Prepared], list[RunFile]]:
    """The runs, and those that were composed: with each values of the keys that are not free."""
    first = {key: combinations[0][key] for key in free}
    composed: dict[str, Prepared] = {}
    runs = []
    for values in combinations:
        base = planner.prepared({**values, **first})
        composed[base.run.run_id] = base
        runs.append(varied_run(base.run, {key: values[key] for key in free}))
    return list(composed.values()), runs


def varied_run(base: RunFile, values: Mapping[str, str]) -> RunFile:
    """The run with values as overrides have them. Raises ConfigError: one of them is refused."""
    from ftctl.config.axes import plain_value
    from ftctl.config.validate import refuse_unavailable
    from ftctl.runs.vary import varied

    plain: dict[str, Any] = {key: plain_value(key, text) for key, text in values.items()}
    run = varied(base, plain)
    refuse_unavailable(run.config)
    return run


def corner(axes: Sequence[Axis], end: int) -> dict[str, str]:
    """The first values of all axes (`end` 0), or the last ones (-1)."""
    found = {}
    for axis in axes:
        if axis.is_range:
            assert axis.low is not None
            assert axis.high is not None
            value = axis.high if end else axis.low
            found[axis.key] = str(int(value) if axis.whole else value)
        else:
            found[axis.key] = axis.values[end]
    return found


def _sweep(swept: Swept, run: RunFile, digest: str, wanted: Wanted, **made: Any) -> Sweep:
    from ftctl.contract.status import now
    from ftctl.contract.sweep import Sweep, sweep_id

    identity = sweep_id(run.run_id.rpartition("-")[0], digest)
    return Sweep(
        sweep_id=identity,
        content_hash=digest,
        created=now(),
        objective=wanted.objective,
        stop_bad=wanted.stop_bad,
        alias=wanted.alias or f"{identity}-best",
        axes=list(swept.axes),
        **{"children": [], **made},
    )


def _refuse_same(runs: Sequence[RunFile], combinations: Sequence[Mapping[str, str]]) -> None:
    seen: dict[str, Mapping[str, str]] = {}
    for run, values in zip(runs, combinations, strict=True):
        other = seen.setdefault(run.content_hash, values)
        if other is not values:
            raise ConfigError(
                f"{_told(other)} and {_told(values)} are the same run",
                where=run.run_id,
                hint="Sweep keys that decide the result; where and on what a run is done does not.",
            )


def _refuse_shared_outputs(config: Config) -> None:
    """Files outside the store that every child would write over."""
    named = {
        "testing.output_test_file": config.testing.output_test_file,
        "paths.final_weights_path": config.paths.final_weights_path,
        "paths.merged_model_path": config.paths.merged_model_path,
    }
    for key, value in named.items():
        if value:
            raise ConfigError(
                "every run of the sweep would write there",
                where=key,
                hint=f"Leave it out ({key}=null); `ftctl download` fetches the best run's files.",
            )


def _told(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
