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
# Units whose copies out may be under way, and units that come back before they are wanted.
_BEHIND, _AHEAD = 4, 2


@dataclass
class _Away:
    """A tensor that is not on its device, of the unit of this number."""

    host: Tensor | None
    device: torch.device
    unit: int
    back: Tensor | None = None


@dataclass
class _Unit:
    """What is saved, and wanted, together."""

    away: list[_Away] = field(default_factory=list)
    leaving: list[Tensor] = field(default_factory=list)
    """Tensors whose copies may be under way."""
    event: Any = None
    """On a GPU: when its copies, out or back, are done."""


class Offload:
    """
    Copies what one pass saves to pinned main memory and back, beside the work of the layers.

    While a unit is computed, those before it go out, or in the backward pass those wanted next come
    back: on the device there is what a few of them save.
    """

    def __init__(self, stream: Any = None) -> None:
        """
        Args:
            stream: a CUDA stream for the copies; None where the device is the CPU.
        """
        self._stream = stream
        # No unit knows the next, nor a tensor its unit: all must go with the last that autograd
        # saves, and not wait for Python to look for circles.
        self._units: list[_Unit] = []

    @contextmanager
    def unit(self) -> Iterator[None]:
        """What autograd saves within it goes out."""
        number = len(self._units)
        self._units.append(_Unit())
        if number >= _BEHIND:
            self._let_go(self._units[number - _BEHIND])
        with saved_tensors_hooks(lambda tensor: self._out(tensor, number), self._back):
            yield
        if self._stream is not None:
            self._units[number].event = self._stream.record_event()

    def _out(self, tensor: Tensor, number: int) -> Tensor | _Away:
        if tensor.numel() * tensor.element_size() < _LEAST_BYTES:
            return tensor
        unit = self._units[number]
        if self._stream is None:
            host = tensor.clone()
        else:
            tensor = tensor.contiguous()  # else the copy would be made in two
            host = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                host.copy_(tensor, non_blocking=True)
            unit.leaving.append(tensor)
        unit.away.append(_Away(host, tensor.device, number))
        return unit.away[-1]

    def _let_go(self, unit: _Unit) -> None:
        """Free what has gone out: what takes its place waits for the copies."""
        if unit.event is not None:
            torch.cuda.current_stream().wait_event(unit.event)
        unit.leaving.clear()

    def _back(self, kept: Tensor | _Away) -> Tensor:
        if not isinstance(kept, _Away):
            return kept
        for number in range(kept.unit, max(kept.unit - _AHEAD, 0) - 1, -1):
            self._fetch(self._units[number])
        event = self._units[kept.unit].event
        if event is not None:
            torch.cuda.current_stream().wait_event(event)
        found, kept.back = kept.back, None
        if found is None:
            raise RuntimeError("what this backward pass needs has been given out: it runs once")
        return found

    def _fetch(self, unit: _Unit) -> None:
        """Start the copies back, once."""
        if not unit.away:
            return
        self._let_go(unit)
        waiting = [(away, away.host) for away in unit.away if away.host is not None]
        for away, host in waiting:
            # torch keeps it until a copy is done.
            away.host = None
            away.back = host if self._stream is None else torch.empty_like(host, device=away.device)
        if self._stream is not None:
            # The memory may be in use until the work before this is done.
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for away, host in waiting:
                    assert away.back is not None
                    away.back.copy_(host, non_blocking=True)
            unit.event = self._stream.record_event()
        unit.away = []
