"""Keeps in main memory, for a while, what a forward pass saves for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks

if TYPE_CHECKING:
    from torch import Tensor

# Smaller tensors are not worth a copy.
_LEAST_BYTES = 2**20


@dataclass
class _Away:
    """A tensor that is not on its device."""

    host: Tensor
    device: torch.device
    unit: _Unit
    back: Tensor | None = None


@dataclass
class _Unit:
    """What is saved, and wanted, together; `before` is the one saved before it, wanted next."""

    before: _Unit | None
    away: list[_Away] = field(default_factory=list)
    leaving: list[Tensor] = field(default_factory=list)
    """Tensors whose copies may be under way."""
    event: Any = None
    """On a GPU: when its copies, out or back, are done."""
    fetched: bool = False


class Offload:
    """
    Copies what one pass saves to pinned main memory and back, beside the work of the layers.

    While a unit is computed, that before it goes out, or in the backward pass the next one comes
    back: on the device there is at most what two units save.
    """

    def __init__(self, stream: Any = None) -> None:
        """
        Args:
            stream: a CUDA stream for the copies; None where the device is the CPU.
        """
        self._stream = stream
        self._last: _Unit | None = None

    @contextmanager
    def unit(self) -> Iterator[None]:
        """What autograd saves within it goes out."""
        unit = self._last = _Unit(self._last)
        if unit.before is not None and unit.before.before is not None:
            self._let_go(unit.before.before)
        with saved_tensors_hooks(lambda tensor: self._out(tensor, unit), self._back):
            yield
        if self._stream is not None:
            unit.event = self._stream.record_event()

    def _out(self, tensor: Tensor, unit: _Unit) -> Tensor | _Away:
        if tensor.numel() * tensor.element_size() < _LEAST_BYTES:
            return tensor
        if self._stream is None:
            away = _Away(tensor.clone(), tensor.device, unit)
        else:
            tensor = tensor.contiguous()  # else the copy would be made in two
            host = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                host.copy_(tensor, non_blocking=True)
            unit.leaving.append(tensor)
            away = _Away(host, tensor.device, unit)
        unit.away.append(away)
        return away

    def _let_go(self, unit: _Unit) -> None:
        """Free what has gone out: what takes its place waits for the copies."""
        if unit.event is not None:
            torch.cuda.current_stream().wait_event(unit.event)
        unit.leaving.clear()

    def _back(self, kept: Tensor | _Away) -> Tensor:
        if not isinstance(kept, _Away):
            return kept
        unit = kept.unit
        self._fetch(unit)
        if unit.event is not None:
            torch.cuda.current_stream().wait_event(unit.event)
        if unit.before is not None:
            self._fetch(unit.before)
        found, kept.back = kept.back, None
        if found is None:
            raise RuntimeError("what this backward pass needs has been given out: it runs once")
        return found

    def _fetch(self, unit: _Unit) -> None:
        if unit.fetched:
            return
        unit.fetched = True
        self._let_go(unit)
        for away in unit.away:
            away.back = torch.empty_like(away.host, device=away.device)
        if self._stream is None:
            for away in unit.away:
                away.back = away.host
            return
        # The memory may be in use until the work before this is done.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for away in unit.away:
                assert away.back is not None
                away.back.copy_(away.host, non_blocking=True)
        unit.event = self._stream.record_event()
