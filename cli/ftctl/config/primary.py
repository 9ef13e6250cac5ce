"""
The order of layers: our config.yaml, group choices, the user's whole configuration, overrides.

An older whole configuration repeats keys of our groups, so it is laid over them; a choice made on
the command line, and the experiment, are laid over it again. A configuration that names an
experiment of its own is none of those: choices replace what it is made of, below the experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ftctl.config.sources import shown_path
from ftctl.errors import ConfigError

EXPERIMENT = "experiment"
_SELF = "_self_"

Entry = str | dict[str, str | list[str] | None]


def primary(
    base: str,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    chosen: Collection[str],
    *,
    main: Path | None = None,
) -> dict[str, Any]:
    """
    Make Hydra's primary configuration.

    Args:
        base: name of the configuration that is below everything.
        ours: our config.yaml.
        theirs: the user's whole configuration; empty where there is none.
        chosen: groups that overrides choose for, themselves or by an experiment.
        main: the file of `theirs`, for messages.
    Raises:
        ConfigError: the user's defaults list has a form that Hydra does not know.
    """
    our_choices = _choices(_entries(ours.get("defaults"), None))
    entries = _entries(theirs.get("defaults"), main)
    if _SELF not in entries:
        entries.append(_SELF)
    their_choices = _choices(entries)
    choices = {**our_choices, **their_choices}
    builds_on_one = EXPERIMENT in their_choices and EXPERIMENT not in chosen
    last = set() if builds_on_one else {*chosen, *({EXPERIMENT} - set(their_choices))}
    if builds_on_one:
        entries = _groups_first(entries)
    first = [
        {group: choices[group]} for group in our_choices if group not in {*last, *their_choices}
    ]
    middle = [entry for entry in entries if isinstance(entry, str) or _group(entry) not in last]
    end = [{group: choices[group]} for group in choices if group in last]
    return {"defaults": [base, *first, *middle, *end], **content(theirs)}


def overridden_groups(values: Mapping[str, Any]) -> set[str]:
    """The groups for which a file's defaults list says `override`."""
    defaults = values.get("defaults")
    return {
        str(key).split()[-1].removeprefix("/")
        for entry in (defaults if isinstance(defaults, list) else [])
        if isinstance(entry, dict)
        for key in entry
        if "override" in str(key).split()
    }


def content(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration file without Hydra's own parts."""
    return {name: value for name, value in values.items() if name not in ("defaults", "hydra")}


def _entries(defaults: Any, main: Path | None) -> list[Entry]:
    """The defaults list without Hydra's own groups; `override` is dropped, it is implied here."""
    entries: list[Entry] = []
    for item in [] if defaults is None else defaults if isinstance(defaults, list) else [defaults]:
        if isinstance(item, str):
            entries.append(item)
        elif isinstance(item, dict) and len(item) == 1:
            (key, choice), *_ = item.items()
            words = [word for word in str(key).split() if word != "override"]
            words[-1] = words[-1].removeprefix("/")
            if not words[-1].startswith("hydra/"):
                entries.append({" ".join(words): choice})
        else:
            raise ConfigError(
                f"its defaults list has an entry {item!r}",
                where=shown_path(main) if main else None,
                hint="Write `defaults:` and below it `- _self_` and `- GROUP: CHOICE`.",
            )
    return entries


def _groups_first(entries: list[Entry]) -> list[Entry]:
    """Every group before the experiment, which may choose another of it."""
    at = next(
        place
        for place, entry in enumerate(entries)
        if isinstance(entry, dict) and _group(entry) == EXPERIMENT
    )
    late = [entry for entry in entries[at + 1 :] if isinstance(entry, dict)]
    return [*entries[:at], *late, *(entry for entry in entries[at:] if entry not in late)]


def _choices(entries: list[Entry]) -> dict[str, Any]:
    return {
        _group(entry): next(iter(entry.values())) for entry in entries if isinstance(entry, dict)
    }


def _group(entry: Mapping[str, Any]) -> str:
    return next(iter(entry)).split()[-1]
