"""Command-line overrides: read by Hydra's grammar, checked against the groups and the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftctl.config import legacy, schema
from ftctl.config.nearest import nearest, nearest_key
from ftctl.config.problems import Problem, as_error
from ftctl.config.secret import redact, redact_override
from ftctl.config.sources import Layer, nested

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

Choices = Mapping[str, Iterable[str]]


@dataclass(frozen=True)
class Overrides:
    """
    Checked overrides.

    Attributes:
        lines: as Hydra is given them.
        chosen: the choice of each group that got one.
        layers: what each sets.
    """

    lines: tuple[str, ...]
    chosen: Mapping[str, Any]
    layers: tuple[Layer, ...]


def read_overrides(texts: Sequence[str], groups: Choices, *, rank: int) -> Overrides:
    """
    Read and check overrides.

    Args:
        groups: the choices of each group.
        rank: of the layers made from them; overrides do not outweigh each other.
    Raises:
        ConfigError: all that is wrong with them: grammar, unknown keys, groups and choices.
    """
    lines: list[str] = []
    chosen: dict[str, Any] = {}
    layers: list[Layer] = []
    problems: list[Problem] = []
    for text, override in _parsed(texts, problems):
        found = _problem(text, override, groups)
        if found:
            problems.append(found)
        elif _is_group(override, groups):
            chosen[override.key_or_group] = None if override.is_delete() else override.value()
            lines.append(text)
        else:
            lines.append(_line(text, override))
            if not override.is_delete():
                values = nested(override.key_or_group, override.value())
                layers.append(Layer(shown_override(text), rank, values))
    if problems:
        raise as_error(problems)
    return Overrides(tuple(lines), chosen, tuple(layers))


def shown_override(text: str) -> str:
    """An override as messages name it, with no secret in it."""
    return f"override {redact_override(text)}"


def _parsed(texts: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, Override]]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for text in texts:
        try:
            yield text, parser.parse_override(text)
        except HydraException:
            problems.append(_unreadable(text))


def _unreadable(text: str) -> Problem:
    key, equals, _ = text.partition("=")
    if not equals:
        return Problem(
            f"argument {redact(text)}",
            "is no override",
            f"Write KEY=VALUE{_meant(key)}.",
        )
    return Problem(
        shown_override(text),
        "its value cannot be read",
        f"Quote what has special characters, inside the quotes of the shell: '{key}=\"VALUE\"'.",
    )


def _meant(key: str) -> str:
    found = nearest_key(key, schema.leaf_paths())
    return f", for example {found}=VALUE" if found else ""


def _problem(text: str, override: Override, groups: Choices) -> Problem | None:
    where, key = shown_override(text), override.key_or_group
    if override.is_sweep_override():
        return Problem(
            where,
            f"{key} gets several values",
            f"Give one; a list is written {key}=[A,B], a text with commas '{key}=\"A,B\"'. "
            "`ftctl sweep` makes a run of each.",
        )
    if key.split("/")[0].split(".")[0] == "hydra":
        return Problem(where, "settings of Hydra have no effect here", "Leave it out.")
    if override.package is not None and key not in groups:
        return Problem(where, f"there is no group {key}", _did_you_mean(key, groups))
    if _is_group(override, groups):
        return _choice_problem(where, override, groups)
    if legacy.is_known(key) or schema.find(key):
        return None
    reason = legacy.replaced(key)
    if reason:
        return Problem(where, f"{key} has no meaning here", reason)
    known = [*schema.keys(), *groups]
    found = nearest_key(key, known) if "." in key else nearest(key, [*groups, *schema.keys()])
    hint = f"Did you mean {found}? " if found else ""
    return Problem(where, f"there is no key {key}", f"{hint}{explain_hint(key)}")


def explain_hint(key: str) -> str:
    """How to find the keys near an unknown one."""
    section = key.split(".")[0]
    target = f"explain {section}" if schema.find(section) else "show"
    return f"`ftctl config {target}` lists the keys."


def _choice_problem(where: str, override: Override, groups: Choices) -> Problem | None:
    group, choices = override.key_or_group, list(groups[override.key_or_group])
    value = override.value()
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name is None or str(name) in choices:
            continue
        close = nearest(str(name), choices)
        return Problem(
            where,
            f"group {group} has no choice {redact(str(name))!r}",
            (f"Did you mean {close}? " if close else "") + f"Choices: {', '.join(choices)}.",
        )
    return None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = nearest(name, names)
    return f"Did you mean {close}?" if close else f"Groups: {', '.join(names)}."


def _is_group(override: Override, groups: Choices) -> bool:
    value: Any = None if override.is_delete() else override.value()
    return override.key_or_group in groups and not isinstance(value, dict)


def _line(text: str, override: Override) -> str:
    # `++` sets a key whether or not a file has it: every key of the models works as it is.
    return text if override.is_delete() else f"++{text.lstrip('+')}"
