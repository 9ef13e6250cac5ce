"""Keeps in main memory, for a while, what a forward pass saves for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks

if TYPE_CHECKING:
    from torch import Tensor

    from ftctl_trainer.model.fast.main_memory import MainMemory, Taken

# Smaller tensors are not worth a copy.
_LEAST_BYTES = 2**20


@dataclass
class _Saved:
    """A tensor that a unit saves: on its device, in main memory, or in both."""

    unit: int
    here: Tensor | None
    there: Taken | None = None


@dataclass
class _Unit:
    """What is saved, and wanted, together."""

    leaves: bool
    saved: list[_Saved] = field(default_factory=list)
    held: int = 0
    """Bytes of it on the device."""
    gone: Any = None
    """On a GPU: when its copies out are done."""
    back: Any = None
    """The same of its copies back."""


class Offload:
    """
    Copies what one pass saves to main memory and back, beside the work of the layers.

    On the device there is at most so much of it: while a unit is computed, those before it go out,
    and in the backward pass those that are wanted next come back as far as there is room. What is
    still on the device when it is wanted, the last units, is taken from there.
    """

    def __init__(self, memory: MainMemory, room: float, stream: Any = None) -> None:
        """
        Args:
            memory: where it goes.
            room: bytes on the device for what units save; one unit going out or coming back has
                its place in any case.
            stream: a CUDA stream for the copies; None where the device is the CPU.
        """
        self._memory, self._room, self._stream = memory, room, stream
        # No unit knows the next, nor a tensor its unit: all must go with the last that autograd
        # saves, and not wait for Python to look for circles.
        self._units: list[_Unit] = []
        self._held = 0
        self._oldest = 0
        """The first unit that has not been let go."""
        self._wanted: int | None = None
        """In the backward pass, the unit that is at work."""

    @contextmanager
    def unit(self, *, leaves: bool) -> Iterator[None]:
        """What autograd saves within it goes out, or stays and takes of the room."""
        number = len(self._units)
        while self._held > self._room and self._oldest < number - 1:
            self._let_go(self._units[self._oldest])
            self._oldest += 1
        self._units.append(_Unit(leaves))
        with saved_tensors_hooks(partial(self._save, number), self._get):
            yield
        if leaves and self._stream is not None:
            self._units[number].gone = self._stream.record_event()

    def _save(self, number: int, tensor: Tensor) -> Tensor | _Saved:
        if tensor.numel() * tensor.element_size() < _LEAST_BYTES:
            return tensor
        unit = self._units[number]
        tensor = tensor.contiguous()  # else a copy would be made in two
        saved = _Saved(number, tensor, self._memory.take(tensor) if unit.leaves else None)
        if saved.there is not None:
            self._copy(saved.there.tensor, tensor)
        unit.saved.append(saved)
        self._hold(unit, _bytes(tensor))
        return saved

    def _let_go(self, unit: _Unit) -> None:
        """Free what has gone out: what takes its place waits for the copies."""
        if unit.gone is not None:
            torch.cuda.current_stream().wait_event(unit.gone)
        for saved in unit.saved:
            if saved.there is not None and saved.here is not None:
                self._hold(unit, -_bytes(saved.here))
                saved.here = None

    def _get(self, kept: Tensor | _Saved) -> Tensor:
        if not isinstance(kept, _Saved):
            return kept
        if self._wanted != kept.unit:
            self._come_to(kept.unit)
        unit = self._units[kept.unit]
        if unit.back is not None:
            torch.cuda.current_stream().wait_event(unit.back)
        found, kept.here, kept.there = kept.here, None, None
        if found is None:
            raise RuntimeError("what this backward pass needs has been given out: it runs once")
        return found

    def _come_to(self, number: int) -> None:
        """The units after this one are done with: take this one back, and others before it."""
        last = len(self._units) - 1 if self._wanted is None else self._wanted
        for unit in self._units[number + 1 : last + 1]:
            self._hold(unit, -unit.held)
        self._wanted = number
        for before in range(number, -1, -1):
            unit = self._units[before]
            missing = sum(_bytes(saved.there.tensor) for saved in _missing(unit) if saved.there)
            if before < number - 1 and missing and self._held + missing > self._room:
                return
            self._fetch(unit)

    def _fetch(self, unit: _Unit) -> None:
        """Start the copies back of what is not here."""
        missing = _missing(unit)
        for saved in missing:
            assert saved.there is not None
            host, saved.there = saved.there, None
            if self._stream is None:
                saved.here = host.tensor.clone()
            else:
                # The memory may be in use until the work before this is done.
                saved.here = torch.empty_like(host.tensor, device=self._stream.device)
                self._copy(saved.here, host.tensor)
            self._hold(unit, _bytes(saved.here))
        if missing and self._stream is not None:
            unit.back = self._stream.record_event()

    def _copy(self, to: Tensor, source: Tensor) -> None:
        if self._stream is None:
            to.copy_(source)
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            to.copy_(source, non_blocking=True)

    def _hold(self, unit: _Unit, more: int) -> None:
        unit.held += more
        self._held += more


def _missing(unit: _Unit) -> list[_Saved]:
    """What has to come back."""
    return [saved for saved in unit.saved if saved.here is None and saved.there is not None]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
