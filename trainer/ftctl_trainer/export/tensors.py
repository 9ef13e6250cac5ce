"""Tensors by name, each read or made when it is asked for; safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftctl.contract.modelfiles import WEIGHTS_SUFFIX
from ftctl.errors import RunFailedError
from ftctl_trainer.export.shards import FileShard, Shard

Array = NDArray[np.float32]
Rows = Callable[[int, int], Array]

# https://huggingface.co/docs/safetensors: little-endian, header length first.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INDEX = "model.safetensors.index.json"
_NO_WEIGHTS = ("I", "U", "BOOL")
_MOST_HEADER_BYTES = 100 * 2**20
# Values that are worked on at once: a few of their arrays fit a core's cache.
BLOCK_VALUES = 2**20


@dataclass(frozen=True)
class Tensor:
    """A float32 tensor that is not in memory yet; `base` is one that an adapter changed, before."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Array]
    base: Callable[[], Array] | None = None
    rows: Rows | None = None
    """Rows begin..end alone; None where the tensor cannot be cut."""
    base_rows: Rows | None = None
    """Rows begin..end of what it was before an adapter changed it."""
    dtype: str = "F32"
    """As safetensors names it, where it was read."""
    parts: tuple[Tensor, ...] = ()
    """What it is a stack of, along a new first axis."""

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    def part(self, begin: int, end: int) -> Array:
        """Rows begin..end, of the whole where it cannot be cut."""
        return self.rows(begin, end) if self.rows else self.load()[begin:end]


def row_blocks(shape: tuple[int, ...], begin: int = 0, end: int | None = None) -> Iterator[slice]:
    """
    Cut rows begin..end of a tensor into blocks whose borders depend on its shape alone.

    So a row is computed together with the same others whoever asks for it, and comes out the same.
    """
    end = shape[0] if end is None else end
    count = max(1, BLOCK_VALUES * shape[0] // max(1, int(np.prod(shape, dtype=np.int64))))
    for start in range(begin // count * count, end, count):
        yield slice(start, min(start + count, shape[0]))


def by_rows(
    name: str, shape: tuple[int, ...], rows: Rows, base_rows: Rows | None = None, dtype: str = "F32"
) -> Tensor:
    """A tensor that is loaded, and known before its update, by its rows."""

    def whole(part: Rows) -> Callable[[], Array]:
        return lambda: part(0, shape[0])

    base = base_rows and whole(base_rows)
    return Tensor(name, shape, whole(rows), base, rows, base_rows, dtype)


def read_folder(folder: Path) -> dict[str, Tensor]:
    """
    Find the tensors of a model's .safetensors files in a folder, by name.

    Raises:
        RunFailedError: no such file, a shard of the index is missing, or a header is unreadable.
    """
    return read_shards(FileShard(folder / name) for name in shard_names(folder, _files(folder)))


def has_shards(folder: Path) -> bool:
    """Whether a folder has all shards of its model; without an index, one of several is not all."""
    try:
        names = shard_names(folder, _files(folder))
    except RunFailedError:
        return False
    return (folder / _INDEX).exists() or not any("-of-" in name for name in names)


def shard_names(folder: Path, there: list[str]) -> list[str]:
    """
    Which of the safetensors files that are `there` make the model whose index is in `folder`.

    Raises:
        RunFailedError: there is none, or one is missing.
    """
    if not there:
        raise RunFailedError("no .safetensors file", where=str(folder))
    index = folder / _INDEX
    if not index.exists():
        return ["model.safetensors"] if "model.safetensors" in there else there
    wanted = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    if missing := [name for name in wanted if name not in there]:
        raise RunFailedError(f"missing shard {missing[0]}", where=str(folder))
    return wanted


def _files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(f"*{WEIGHTS_SUFFIX}"))


def read_file(file: Path) -> dict[str, Tensor]:
    """Find the tensors of one .safetensors file, by name. Raises as `read_shards`."""
    return read_shards([FileShard(file)])


def read_shards(shards: Iterable[Shard]) -> dict[str, Tensor]:
    """
    Find the floating-point tensors of some shards, by name, in the order of their bytes.

    Raises:
        RunFailedError: a header is unreadable, a file ends too early, or has values in a format
            that needs scales of its own.
    """
    return {tensor.name: tensor for shard in shards for tensor in _tensors(shard)}


def _tensors(shard: Shard) -> Iterator[Tensor]:
    header, data = _header(shard)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = (data + offset for offset in entry["data_offsets"])
        if end > shard.size:
            raise RunFailedError(
                f"cut short: {name} ends at byte {end} of {shard.size}", where=shard.where
            )
        if entry["dtype"] in _DTYPES:
            yield _tensor(shard, name, entry["dtype"], tuple(entry["shape"]), begin, end)
        elif not entry["dtype"].startswith(_NO_WEIGHTS):
            raise RunFailedError(
                f"{name} is stored as {entry['dtype']}, which is not handled",
                where=shard.where,
                hint="Take the model in float32, float16 or bfloat16.",
            )


def _header(shard: Shard) -> tuple[dict[str, Any], int]:
    """The header's entries, and the byte at which the tensors begin."""
    try:
        length = int.from_bytes(shard.read(0, 8), "little")
        if length > min(shard.size, _MOST_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes")
        header: dict[str, Any] = json.loads(shard.read(8, length))
        header.pop("__metadata__", None)
    except (ValueError, RunFailedError) as error:
        raise RunFailedError("not a safetensors file", where=shard.where) from error
    return header, 8 + length


def _tensor(
    shard: Shard, name: str, dtype: str, shape: tuple[int, ...], begin: int, end: int
) -> Tensor:
    stored = np.dtype(_DTYPES[dtype])
    values = int(np.prod(shape, dtype=np.int64))
    if end - begin != values * stored.itemsize:
        raise RunFailedError(
            f"{name} has {end - begin} bytes, where {list(shape)} in {dtype} need "
            f"{values * stored.itemsize}",
            where=shard.where,
        )
    rows_of = shape if shape else (1,)
    row_bytes = values // max(1, rows_of[0]) * stored.itemsize

    def rows(first: int, last: int) -> Array:
        found = np.empty((last - first, *rows_of[1:]), np.float32)
        for block in row_blocks(rows_of, first, last):
            start, stop = max(block.start, first), min(block.stop, last)
            raw = shard.read(begin + start * row_bytes, (stop - start) * row_bytes)
            _widen(np.frombuffer(raw, stored), found[start - first : stop - first].reshape(-1))
        return found

    if not shape:
        return Tensor(name, shape, lambda: rows(0, 1).reshape(()), dtype=dtype)
    return by_rows(name, shape, rows, dtype=dtype)


def _widen(raw: NDArray[Any], into: Array) -> None:
    if raw.dtype == np.uint16:  # bfloat16 is the upper half of a float32
        bits = into.view(np.uint32)
        bits[:] = raw
        bits <<= 16
    else:
        into[:] = raw
