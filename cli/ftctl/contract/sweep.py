"""A sweep: runs that differ in some keys, under one id that follows from what they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from ftctl.contract.names import HASH_DIGITS, RUN_NAME_LENGTH, is_run_id, run_name
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stored
from ftctl.errors import UsageError

Objective = Literal["loss", "right_action", "exact_match", "reward"]
OBJECTIVES: tuple[Objective, ...] = ("loss", "right_action", "exact_match", "reward")
# Of these less is better; of all others more.
LOWER_IS_BETTER: frozenset[Objective] = frozenset({"loss"})

_INFIX = "-sweep"
_SWEEP_ID = re.compile(rf"[a-z]([a-z0-9-]*[a-z0-9])?{_INFIX}-[0-9a-f]{{{HASH_DIGITS}}}")
_ALIAS = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class Axis(Stored):
    """A key that is swept: over values, or, in a search, over a range of numbers too."""

    key: str
    values: list[str] = Field(
        default_factory=list, description="as an override has them; empty for a range"
    )
    low: float | None = Field(None, description="of a range, inclusive")
    high: float | None = Field(None, description="of a range, inclusive")
    log: bool = Field(False, description="a range is drawn from by its logarithm")
    whole: bool = Field(False, description="a range of whole numbers")

    @property
    def is_range(self) -> bool:
        return not self.values


class Child(Stored):
    """One run of a sweep: an ordinary run, of the id that its inputs give it anywhere."""

    run_id: str
    values: dict[str, str] = Field(description="swept key to its value, as an override has it")


class Search(Stored):
    """How children are chosen one after the other, where not every combination is run."""

    trials: int = Field(description="children at most")
    seed: int = Field(description="of the choices")
    base: RunFile = Field(description="the run that children are made from by changing keys")


class Sweep(Stored):
    """sweep.json. What happened to the children is read from their runs."""

    sweep_id: str
    content_hash: str
    created: datetime
    objective: Objective
    stop_bad: bool = Field(description="children that fall behind the median are stopped")
    alias: str = Field(description="name that the best run gets")
    axes: list[Axis]
    children: list[Child] = Field(description="in a search, those that were chosen so far")
    search: Search | None = None

    @property
    def trials(self) -> int:
        """Children there will be."""
        return self.search.trials if self.search else len(self.children)


class Alias(Stored):
    """A name for a run; commands take it in place of the run's id."""

    run_id: str
    sweep_id: str | None = None
    time: datetime


def sweep_hash(
    contents: Sequence[str],
    *,
    objective: Objective,
    stop_bad: bool,
    axes: Sequence[Axis] = (),
    trials: int | None = None,
    seed: int | None = None,
) -> str:
    """
    What tells a sweep from others. How many run at once, and where, is outside.

    Args:
        contents: content hashes of the children, in any order; of a search, its base alone.
        axes, trials, seed: of a search.
    """
    inputs = {
        "contents": sorted(contents),
        "objective": objective,
        "stop_bad": stop_bad,
        "axes": [axis.model_dump(mode="json") for axis in sorted(axes, key=lambda one: one.key)],
        "trials": trials,
        "seed": seed,
    }
    canonical = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sweep_id(name: str, content_hash: str) -> str:
    """`<name>-sweep-<12 hex>`, no longer than a run id may be."""
    label = run_name(name)[: RUN_NAME_LENGTH - len(_INFIX)].rstrip("-")
    return f"{label}{_INFIX}-{content_hash[:HASH_DIGITS]}"


def is_sweep_id(text: str) -> bool:
    """Whether `text` has the form of a sweep's id."""
    return _SWEEP_ID.fullmatch(text) is not None


def checked_alias(text: str) -> str:
    """The name, if it can be one. Raises UsageError: it could not be told from a run id, say."""
    if _ALIAS.fullmatch(text) is None or is_run_id(text):
        raise UsageError(
            f"{text!r} cannot name a run",
            where="--alias",
            hint="Use small letters, digits, hyphens and dots, 63 at most, and not the form of a "
            "run id: support-bot-best.",
        )
    return text


def is_alias(text: str) -> bool:
    """Whether `text` has the form of an alias."""
    return _ALIAS.fullmatch(text) is not None
