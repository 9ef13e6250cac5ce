"""Finds the run that a user means: its id, a name it was given, or the first letters of its id."""

from __future__ import annotations

from difflib import get_close_matches

from ftctl.contract.layout import INDEX, RunLayout, indexed_run
from ftctl.contract.names import is_run_id
from ftctl.errors import UsageError
from ftctl.storage.aliases import read_alias
from ftctl.storage.base import Store

# As many candidates as an error shows.
_SHOWN = 8


def find_run(store: Store, text: str) -> str:
    """
    Return the id of the one run whose id or alias is `text`, or whose id starts with it.

    Raises:
        UsageError: no run starts so, or several do; the message names them.
        StorageError: the store cannot be read.
    """
    # A whole id needs no listing, and is found even where its index record is gone.
    if is_run_id(text) and store.stat(RunLayout(text).config) is not None:
        return text
    alias = read_alias(store, text)
    if alias and store.stat(RunLayout(alias.run_id).config) is not None:
        return alias.run_id
    if alias:
        raise UsageError(
            f"{text!r} names the run {alias.run_id}, which is not there any more", where=store.url
        )
    known = list(dict.fromkeys(_run_ids(store)))
    if text in known:
        return text
    found = [run_id for run_id in known if text and run_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{text!r} may be any of {len(found)} runs: {_named(found)}",
            where=store.url,
            hint="Write more of the run id.",
        )
    raise _unknown(store, text, known)


def _run_ids(store: Store) -> list[str]:
    ids = (indexed_run(item.key) for item in store.list(INDEX))
    return [run_id for run_id in ids if run_id]


def _unknown(store: Store, text: str, known: list[str]) -> UsageError:
    if not known:
        return UsageError(
            f"no run {text!r}: there are no runs in this store",
            where=store.url,
            hint="Name another store with storage.url=FOLDER or storage.url=s3://bucket/prefix.",
        )
    near = get_close_matches(text, known, n=_SHOWN, cutoff=0.5)
    which = f"near it: {_named(near)}" if near else f"the newest: {_named(known)}"
    return UsageError(
        f"no run {text!r}; {which}", where=store.url, hint="`ftctl list` shows all runs."
    )


def _named(run_ids: list[str]) -> str:
    shown = ", ".join(run_ids[:_SHOWN])
    return f"{shown}, ..." if len(run_ids) > _SHOWN else shown
