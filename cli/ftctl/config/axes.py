"""Sweeps in overrides, by Hydra's grammar: A,B, choice(), range(), interval(), glob()."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftctl.config import schema
from ftctl.config.overrides import shown_override
from ftctl.config.problems import Problem, as_error
from ftctl.config.tree import open_tree
from ftctl.contract.sweep import Axis


@dataclass(frozen=True)
class Swept:
    """Overrides that every child has, and the keys in which children differ, in their order."""

    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]

    def combinations(self) -> Iterator[dict[str, str]]:
        """Every combination of values, the last key's fastest, as Hydra has them."""
        keys = [axis.key for axis in self.axes]
        for values in itertools.product(*(axis.values for axis in self.axes)):
            yield dict(zip(keys, values, strict=True))


def read_swept(
    texts: Sequence[str],
    *,
    searching: bool,
    config_dir: Path | None = None,
    config_name: str | None = None,
) -> Swept:
    """
    Tell swept overrides from those with one value. What else is wrong, composing finds.

    Args:
        searching: ranges of numbers are allowed, `interval(A,B)`, as is `tag(log,interval(A,B))`.
    Raises:
        ConfigError: nothing is swept, or a key cannot be swept in this way.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    groups = open_tree(config_dir, config_name).groups()
    parser = OverridesParser.create()
    fixed: list[str] = []
    axes: list[Axis] = []
    single: set[str] = set()
    problems: list[Problem] = []
    for text in texts:
        try:
            override = parser.parse_override(text)
        except HydraException:
            fixed.append(text)  # composing says what is wrong with it
            continue
        if not override.is_sweep_override():
            fixed.append(text)
            single.add(override.key_or_group)
            continue
        axis = _axis(override, groups)
        reason = (
            axis
            if isinstance(axis, str)
            else _refusal(axis, axes, groups if searching else {}, searching)
        )
        if reason:
            problems.append(Problem(shown_override(text), reason))
        elif isinstance(axis, Axis):
            axes.append(axis)
    problems += [
        Problem("arguments", f"{axis.key} has several values, and has one value too")
        for axis in axes
        if axis.key in single
    ]
    if problems:
        raise as_error(problems)
    if not axes:
        raise as_error([_nothing_swept()])
    return Swept(tuple(fixed), tuple(axes))


def plain_value(key: str, text: str) -> Any:
    """The value that an override's text stands for."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(f"{key}={text}").value()


def _axis(override: Any, groups: Mapping[str, Iterable[str]]) -> Axis | str:
    """The axis of an override, or why it is none."""
    from hydra.core.override_parser.types import Glob, Transformer

    key, value = override.key_or_group, override.value()
    if isinstance(value, Glob):
        if key not in groups:
            return "glob() chooses among the choices of a group, and this is a key"
        return Axis(key=key, values=value.filter(sorted(groups[key])))
    if override.is_interval_sweep():
        low, high = float(value.start), float(value.end)
        if not low < high:
            return f"its lower end {low:g} is not below its upper end {high:g}"
        log = "log" in (value.tags or ())
        if log and low <= 0:
            return "a logarithmic range begins above 0"
        known = schema.find(key)
        whole = known is not None and known.allowed.startswith("a whole number")
        return Axis(key=key, low=low, high=high, log=log, whole=whole)
    texts = override.sweep_iterator(transformer=Transformer.str)
    # Unquoted, any spelling of these is a boolean; ours is YAML's.
    spelt = (text.lower() if text in ("True", "False") else text for text in map(str, texts))
    return Axis(key=key, values=list(dict.fromkeys(spelt)))


def _refusal(
    axis: Axis, before: Sequence[Axis], not_searched: Iterable[str], searching: bool
) -> str | None:
    if any(axis.key == other.key for other in before):
        return f"{axis.key} is swept twice"
    if axis.is_range and not searching:
        return "a range of numbers has no end of values: say --search N, or list the values"
    if axis.key in not_searched:
        return "a search chooses values of keys, not choices of groups"
    return None


def _nothing_swept() -> Problem:
    return Problem(
        "arguments",
        "no key has several values",
        "Sweep one: training.learning_rate=1e-4,3e-4. `ftctl run` and `ftctl submit` make one run.",
    )
