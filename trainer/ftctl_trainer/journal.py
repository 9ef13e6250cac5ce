"""The lines of metrics.jsonl and events.jsonl, as the store has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError

from ftctl.contract.status import Stored
from ftctl.storage.base import NotFoundError, Store

_log = logging.getLogger(__name__)

LineT = TypeVar("LineT", bound=Stored)


class Journal:
    """
    A file of JSON lines. Objects are written whole, so all lines are kept in memory.

    Lines that are no `model`, as after an edit by hand, are left out and said.
    """

    def __init__(self, store: Store, key: str, model: type[Stored]) -> None:
        self._store, self._key = store, key
        found = _read(store, key)
        self._lines = [line for line in found if _is(model, line)]
        self._unsaved = False
        if len(self._lines) < len(found):
            left = len(found) - len(self._lines)
            _log.warning("%s/%s: damaged lines left out: %d", store.url, key, left)

    def add(self, line: Stored) -> None:
        """Add a line; `save` brings it to the store."""
        self._lines.append(line.model_dump_json(exclude_none=True))
        self._unsaved = True

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Drop the lines that are not wanted."""
        kept = [line for line in self._lines if wanted(line)]
        self._unsaved = self._unsaved or len(kept) < len(self._lines)
        self._lines = kept

    def save(self) -> None:
        """Write the file, if lines changed since the last time."""
        if not self._unsaved:
            return
        body = "".join(f"{line}\n" for line in self._lines)
        self._store.write(self._key, body.encode())
        self._unsaved = False

    def lines(self, model: type[LineT]) -> list[LineT]:
        """All lines."""
        return [model.model_validate_json(line) for line in self._lines]

    def first(self, model: type[LineT]) -> LineT | None:
        """The first line, or None."""
        return model.model_validate_json(self._lines[0]) if self._lines else None


def _is(model: type[Stored], line: str) -> bool:
    try:
        model.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _read(store: Store, key: str) -> list[str]:
    try:
        return store.read(key).decode(errors="replace").splitlines()
    except NotFoundError:
        return []
