"""Tensors by name, each read or made when it is asked for; safetensors files of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ftctl.errors import RunFailedError

Array = NDArray[np.float32]

# https://huggingface.co/docs/safetensors: little-endian, header length first.
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class Tensor:
    """A float32 tensor that is not in memory yet; `base` is one that an adapter changed, before."""

    name: str
    shape: tuple[int, ...]
    load: Callable[[], Array]
    base: Callable[[], Array] | None = None


def read_folder(folder: Path) -> dict[str, Tensor]:
    """
    Find the tensors of every .safetensors file in a folder, by name.

    Raises:
        RunFailedError: no such file, a shard of the index is missing, or a header is unreadable.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise RunFailedError("no .safetensors file", where=str(folder))
    index = folder / "model.safetensors.index.json"
    if index.exists():
        wanted = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(wanted - {file.name for file in files}):
            raise RunFailedError(f"missing shard {missing[0]}", where=str(folder))
    return {name: tensor for file in files for name, tensor in read_file(file).items()}


def read_file(file: Path) -> dict[str, Tensor]:
    """
    Find the floating-point tensors of one .safetensors file, by name.

    Raises:
        RunFailedError: the header is unreadable, or the file ends too early.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (OSError, ValueError, MemoryError) as error:
        raise RunFailedError("not a safetensors file", where=str(file)) from error
    header.pop("__metadata__", None)
    size = file.stat().st_size
    found = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if end > size:
            raise RunFailedError(f"cut short: {name} ends at byte {end} of {size}", where=str(file))
        if entry["dtype"] in _DTYPES:
            found[name] = _tensor(file, name, entry["dtype"], tuple(entry["shape"]), begin)
    return found


def _tensor(file: Path, name: str, dtype: str, shape: tuple[int, ...], begin: int) -> Tensor:
    def load() -> Array:
        count = int(np.prod(shape, dtype=np.int64))
        raw = np.fromfile(file, np.dtype(_DTYPES[dtype]), count, offset=begin)
        if dtype == "BF16":  # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False).reshape(shape)

    return Tensor(name, shape, load)
