"""
What stands in a GGUF file before its tensors' data; of lists only their lengths.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path

from ftctl.errors import ConfigError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# enum gguf_metadata_value_type.
_SCALARS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?")))
_SCALARS |= {10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

Scalar = str | int | float | bool
Bytes = bytes | mmap.mmap


@dataclass
class GgufHeader:
    """`values` and the lengths of `lists` by key, and the names of the tensors."""

    values: dict[str, Scalar] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    tensors: set[str] = field(default_factory=set)


def read_header(path: Path) -> GgufHeader:
    """
    Read a file's header.

    Raises:
        ConfigError: the file does not begin as GGUF, or its header is cut.
    """
    with path.open("rb") as file:
        if not file.read(1):
            raise _refused(str(path), "is no GGUF file: it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse_header(data, where=str(path))


def parse_header(data: Bytes, *, where: str) -> GgufHeader:
    """
    Read a header from a file's first bytes.

    Raises:
        ConfigError: they do not begin as GGUF, or are too few.
    """
    start = data[: len(MAGIC)]
    if start != MAGIC:
        raise _refused(where, f"is no GGUF file: it begins with {start!r}, not {MAGIC!r}")
    try:
        return _Cursor(data).header()
    except (struct.error, ValueError, KeyError, OverflowError) as error:
        raise _refused(where, "its GGUF header cannot be read") from error


class _Cursor:
    """Reads on from where it is."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._at = data, len(MAGIC)

    def header(self) -> GgufHeader:
        """Read all there is before the tensors' data."""
        version, tensors, count = self._numbers("<IQQ")
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        found = GgufHeader()
        for _ in range(count):
            key, (kind,) = self._string(), self._numbers("<I")
            if kind == _ARRAY:
                found.lists[key] = self._skip_list()
            else:
                value = self._string() if kind == _STRING else self._numbers(_SCALARS[kind])[0]
                found.values[key] = value
        for _ in range(tensors):
            found.tensors.add(self._string())
            (dimensions,) = self._numbers("<I")
            self._numbers(f"<{dimensions}QIQ")
        return found

    def _numbers(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return found

    def _string(self) -> str:
        (length,) = self._numbers("<Q")
        self._at += length
        if self._at > len(self._data):
            raise ValueError("cut within a text")
        return self._data[self._at - length : self._at].decode("utf-8", errors="replace")

    def _skip_list(self) -> int:
        kind, count = self._numbers("<IQ")
        if kind in _SCALARS:
            self._at += struct.calcsize(_SCALARS[kind]) * count
            return count
        for _ in range(count):
            if kind == _STRING:
                self._at += 8 + struct.unpack_from("<Q", self._data, self._at)[0]
            else:
                self._skip_list()
        return count


def _refused(where: str, what: str) -> ConfigError:
    return ConfigError(
        what,
        where=where,
        hint="Copy or download the model again; this file is cut or damaged.",
    )
