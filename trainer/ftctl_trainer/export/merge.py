"""A PEFT adapter merged into its base, rows at a time, in float32, never the whole model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from ftctl.errors import RunFailedError
from ftctl_trainer.export.adapter import Adapter, Lora, TokenRows, is_finite, read_adapter
from ftctl_trainer.export.base import base_tensors
from ftctl_trainer.export.tensors import Array, Rows, Tensor, by_rows, row_blocks

EMBEDDING = "model.embed_tokens.weight"
OUTPUT = "lm_head.weight"


def merged_tensors(base: Path, adapter: Path) -> list[Tensor]:
    """
    Describe the merged model: the base's tensors in its order, then those the adapter adds.

    A tensor is read and merged when its `load` or `rows` are called. An output layer that shares
    the embedding stays out, unless the adapter changes one of the two alone: then they part, as
    they did in training.

    Args:
        base: folder of the base model, with config.json and safetensors, or a description of
            where they are.
        adapter: folder that PEFT saved.
    Raises:
        RunFailedError: an adapter of another kind, or one that does not fit the base.
    """
    found = read_adapter(adapter)
    tensors = base_tensors(base)
    tied = json.loads((base / "config.json").read_text()).get("tie_word_embeddings", False)
    if tied or OUTPUT not in tensors:
        tensors.pop(OUTPUT, None)
        if _parts(found) and EMBEDDING in tensors:
            tensors[OUTPUT] = replace(tensors[EMBEDDING], name=OUTPUT)
    _check_known(found, tensors, adapter)
    for name, tensor in found.replaced.items():
        tensors[name] = _instead(tensor, tensors.get(name), tensors.get(EMBEDDING))
    return [
        _checked(_with_tokens(_merged(tensor, found.updates.get(name)), found.tokens.get(name)))
        for name, tensor in tensors.items()
    ]


def lora_update(lora: Lora, rows: slice) -> Array:
    """
    These rows of the update: scale B A.

    Source: arXiv:2106.09685, section 4.1. The product is computed in float32.
    """
    a, scale = lora.a.load(), np.float32(lora.scale)
    if lora.transposed:
        return np.asarray(a[:, rows].T @ (lora.b.load() * scale).T, np.float32)
    return np.asarray((lora.b.part(rows.start, rows.stop) * scale) @ a, np.float32)


def _parts(adapter: Adapter) -> bool:
    """Whether embedding and output layer, of one weight in the base, are two by now."""
    if OUTPUT in adapter.updates or EMBEDDING in adapter.updates:
        return True
    # PEFT saves a resized embedding along with any adapter; that does not part the two.
    alone = EMBEDDING in adapter.replaced and OUTPUT not in adapter.replaced
    trained = any(EMBEDDING.endswith(f"{name}.weight") for name in adapter.trained_whole)
    return alone and trained and not adapter.keeps_ties


def _check_known(found: Adapter, tensors: dict[str, Tensor], adapter: Path) -> None:
    for name, lora in found.updates.items():
        target = found.replaced.get(name) or tensors.get(name)
        if target is None or target.shape != lora.shape:
            there = "no such tensor" if target is None else f"one of shape {list(target.shape)}"
            raise _another_base(
                f"the adapter changes {name} {list(lora.shape)}; the base has {there}", adapter
            )
    for name, tensor in found.replaced.items():
        known = tensors.get(name) or (tensors.get(EMBEDDING) if name == OUTPUT else None)
        # Rows may differ: a vocabulary grows by added tokens.
        if known is None or known.shape[1:] != tensor.shape[1:]:
            raise _another_base(
                f"the adapter's {name} {list(tensor.shape)} fits no tensor of the base", adapter
            )
    for name, rows in found.tokens.items():
        known = tensors.get(name)
        if (
            known is None
            or known.shape[1:] != rows.values.shape[1:]
            or int(rows.numbers.max(initial=-1)) >= known.shape[0]
        ):
            raise _another_base(
                f"the adapter's {len(rows.numbers)} trained tokens fit no {name} of the base",
                adapter,
            )


def _another_base(what: str, adapter: Path) -> RunFailedError:
    return RunFailedError(
        what, where=str(adapter), hint="This adapter was trained on another base model."
    )


def _instead(tensor: Tensor, known: Tensor | None, embedding: Tensor | None) -> Tensor:
    """A tensor that was trained whole, in the place of the base's, if that has it by itself."""
    if known is None:
        return replace(tensor, dtype=embedding.dtype) if embedding else tensor
    tensor = replace(tensor, dtype=known.dtype)
    same = known.shape == tensor.shape
    return replace(tensor, base=known.load, base_rows=known.rows) if same else tensor


def _merged(tensor: Tensor, lora: Lora | None) -> Tensor:
    if lora is None:
        return tensor
    rows = _updated(tensor, lora)
    if lora.magnitude is not None:
        rows = _with_magnitude(rows, lora, lora.magnitude)
    merged = by_rows(tensor.name, tensor.shape, rows, tensor.part, tensor.dtype)
    return merged if tensor.rows else replace(merged, rows=None, base_rows=None)


def _updated(tensor: Tensor, lora: Lora) -> Rows:
    def rows(begin: int, end: int) -> Array:
        weight = tensor.part(begin, end)
        for block in row_blocks(tensor.shape, begin, end):
            start, stop = max(block.start, begin), min(block.stop, end)
            update = lora_update(lora, block)
            weight[start - begin : stop - begin] += update[start - block.start : stop - block.start]
        return weight

    return rows


def _with_magnitude(plain: Rows, lora: Lora, magnitude: Tensor) -> Rows:
    """Bring the weights of each output to its length: rows, or columns where transposed."""

    @cache
    def of_columns() -> Array:
        lengths = np.zeros(lora.shape[1], np.float64)
        for block in row_blocks(lora.shape):
            lengths += np.square(plain(block.start, block.stop), dtype=np.float64).sum(axis=0)
        return np.asarray(magnitude.load().reshape(-1) / np.sqrt(lengths), np.float32)

    def rows(begin: int, end: int) -> Array:
        weight = plain(begin, end)
        if lora.transposed:
            weight *= of_columns()
        else:
            wanted = magnitude.load().reshape(-1)[begin:end]
            weight *= (wanted / np.linalg.norm(weight, axis=1))[:, None]
        return weight

    return rows


def _with_tokens(tensor: Tensor, tokens: TokenRows | None) -> Tensor:
    if tokens is None:
        return tensor

    def rows(begin: int, end: int) -> Array:
        weight = tensor.part(begin, end)
        here = (tokens.numbers >= begin) & (tokens.numbers < end)
        if here.any():
            weight[tokens.numbers[here] - begin] = tokens.values.load()[here]
        return weight

    return by_rows(tensor.name, tensor.shape, rows, tensor.base_rows or tensor.part, tensor.dtype)


def _checked(tensor: Tensor) -> Tensor:
    def finite(part: Callable[[], Array]) -> Array:
        with np.errstate(all="ignore"):
            values = part()
        if not is_finite(values):
            raise RunFailedError(
                f"{tensor.name} is not finite once merged",
                hint="The training diverged: lower training.learning_rate.",
            )
        return values

    rows = tensor.rows
    return replace(
        tensor,
        load=lambda: finite(tensor.load),
        rows=rows and (lambda begin, end: finite(lambda: rows(begin, end))),
    )
