"""
A GGUF in several files, cut as llama.cpp's llama-gguf-split cuts one and as llama.cpp loads them.

Source: llama.cpp, tools/gguf-split/gguf-split.cpp. The first file has all metadata; every file says
which one it is; a file is full when another tensor would bring its tensors above the limit.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.gguf_writer import GGUFValue
from numpy.typing import NDArray

from ftctl_trainer.export.gguf_file import GgufFile, Metadata, stored_bytes
from ftctl_trainer.export.tensors import Tensor

_SUFFIX = ".gguf"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_ALIGNMENT = gguf.GGUF_DEFAULT_ALIGNMENT
# As llama.cpp reads them: unsigned counts of files, a signed one of tensors.
_U16, _I32 = gguf.GGUFValueType.UINT16, gguf.GGUFValueType.INT32


class GgufParts:
    """A GGUF that tensors are written into in any order: one file, or several above a limit."""

    def __init__(
        self,
        path: Path,
        metadata: Metadata,
        tensors: list[Tensor],
        kinds: Mapping[str, Kind],
        limit: int | None = None,
    ) -> None:
        """
        Write all headers.

        Args:
            path: of the one file; of several each has its number before `.gguf`.
            metadata, tensors, kinds: as GgufFile takes them.
            limit: bytes of tensors that a file may have; a larger tensor has a file of its own.
        """
        groups = cut(tensors, kinds, limit)
        self.kinds = kinds
        self._files: list[GgufFile] = []
        self._file_of: dict[str, GgufFile] = {}
        for number, group in enumerate(groups):
            target, keys = path, dict(metadata) if number == 0 else {}
            if len(groups) > 1:
                target = part_path(path, number, len(groups))
                keys |= _split_keys(number, len(groups), len(tensors))
            file = GgufFile(target, keys, group, kinds)
            self._files.append(file)
            self._file_of |= dict.fromkeys((tensor.name for tensor in group), file)

    def write(self, name: str, first_row: int, rows: NDArray[np.generic]) -> None:
        """Write encoded rows of a tensor."""
        self._file_of[name].write(name, first_row, rows)

    def __enter__(self) -> GgufParts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files:
            file.close()


def cut(tensors: list[Tensor], kinds: Mapping[str, Kind], limit: int | None) -> list[list[Tensor]]:
    """Tensors by the file that they stand in, in order."""
    groups: list[list[Tensor]] = [[]]
    filled = 0
    for tensor in tensors:
        size = -(-stored_bytes(tensor, kinds[tensor.name]) // _ALIGNMENT) * _ALIGNMENT
        if limit is not None and groups[-1] and filled + size > limit:
            groups.append([])
            filled = 0
        groups[-1].append(tensor)
        filled += size
    return groups


def part_path(path: Path, number: int, count: int) -> Path:
    """The file of part `number`, from 0, of `count` (llama.cpp: llama_split_path)."""
    stem = path.name.removesuffix(_SUFFIX)
    return path.with_name(f"{stem}-{number + 1:05d}-of-{count:05d}{_SUFFIX}")


def joined_name(first: str) -> str:
    """The name that a file had, by that of its first part."""
    return _PART.sub(_SUFFIX, first)


def parts_of(path: Path) -> list[Path]:
    """The files that GgufParts wrote for `path`, in order; llama.cpp is given the first."""
    if path.exists():
        return [path]
    stem = glob.escape(path.name.removesuffix(_SUFFIX))
    return sorted(path.parent.glob(f"{stem}-?????-of-?????{_SUFFIX}"))


def split_file(path: Path, limit: int) -> None:
    """Cut a whole file that something else wrote, where it is above the limit; it goes away."""
    reader = gguf.GGUFReader(path)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    tensors = [
        Tensor(name, tuple(int(size) for size in reversed(found.shape)), _nothing)
        for name, found in stored.items()
    ]
    kinds = {name: Kind(found.tensor_type) for name, found in stored.items()}
    if len(cut(tensors, kinds, limit)) == 1:
        return
    whole = path.rename(path.with_name(f"whole-{path.name}"))
    with GgufParts(path, _metadata(reader), tensors, kinds, limit) as parts:
        for name, found in stored.items():
            parts.write(name, 0, found.data)
    whole.unlink()


def _metadata(reader: gguf.GGUFReader) -> dict[str, Any]:
    """All keys of a file, as its writer would have been given them."""
    return {
        field.name: GGUFValue(
            field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None
        )
        for field in reader.fields.values()
        if not field.name.startswith("GGUF.")  # the reader's own: version and counts
    }


def _split_keys(number: int, count: int, tensors: int) -> dict[str, Any]:
    keys = gguf.Keys.Split
    return {
        keys.LLM_KV_SPLIT_NO: GGUFValue(number, _U16),
        keys.LLM_KV_SPLIT_TENSORS_COUNT: GGUFValue(tensors, _I32),
        keys.LLM_KV_SPLIT_COUNT: GGUFValue(count, _U16),
    }


def _nothing() -> NDArray[np.float32]:
    raise NotImplementedError("only its header is known")
