"""What the file readers hand to the formats: values with the place they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from ftctl.data.problems import Place, Problem

# A row above this is no training example, and parsing it would take several times as much memory.
ROW_LIMIT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Source:
    """A file to read, on this machine or in an object store."""

    name: str
    """As shown to people: the path as given, or the URL."""
    open: Callable[[], BinaryIO]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name.replace("\\", "/")).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix.lower()


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it. `key` is its key in a map of rows."""

    place: Place
    value: Any
    key: str | None = None


@dataclass
class RawFile:
    """All rows of a file, those that could not be parsed, and what stands beside the rows."""

    name: str
    stem: str
    rows: list[RawRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.rows and not self.problems


def too_large(size_bytes: int) -> str:
    """Say that a row is above the limit."""
    return (
        f"the row has {size_bytes:,} bytes; "
        f"the limit is {ROW_LIMIT_BYTES:,} bytes ({ROW_LIMIT_BYTES // 2**20} MiB) a row"
    )
