"""Main memory that a GPU copies to and from beside its work."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

_PAGE = 4096
# Of what is handed out.
_ALIGNED = 512


class MainMemory:
    """
    One pinned block, handed out from its beginning on until all of it has been given back.

    What a pass takes it gives back before the next begins. The block is as large as it is told to
    be: PyTorch's own pinned blocks are powers of two.
    """

    def __init__(self, size: int, *, pinned: bool) -> None:
        """
        Take the memory at once, in a quarter of a second a GiB.

        Args:
            size: bytes.
            pinned: as a GPU wants it.
        Raises:
            RuntimeError: there is not so much of it, or it may not be pinned.
        """
        self._whole = torch.empty(size, dtype=torch.uint8)
        self._next = self._taken = 0
        if pinned:
            _pin(self._whole)
            weakref.finalize(self, _unpin, self._whole)

    def take(self, tensor: Tensor) -> Taken | None:
        """Room for what a tensor holds, or None where none is left."""
        start, size = self._next, tensor.numel() * tensor.element_size()
        if start + size > len(self._whole):
            return None
        self._next = start + -(-size // _ALIGNED) * _ALIGNED
        self._taken += 1
        room = self._whole[start : start + size].view(tensor.dtype).view(tensor.shape)
        return Taken(self, room)

    def give_back(self) -> None:
        """One of those that were taken is free; a copy from it may be under way."""
        self._taken -= 1
        if self._taken == 0:
            self._next = 0


class Taken:
    """A tensor in main memory, given back when nobody holds this any more."""

    def __init__(self, memory: MainMemory, tensor: Tensor) -> None:
        self._memory, self.tensor = memory, tensor

    def __del__(self) -> None:
        self._memory.give_back()


def _pin(block: Tensor) -> None:
    # Pages are mapped by many threads here; by the registration they would be by one.
    block[::_PAGE] = 0
    runtime = _runtime()
    code = runtime.cudaHostRegister(block.data_ptr(), len(block), 0)
    if code != runtime.cudaError.success:
        _forget_error()
        raise RuntimeError(
            f"{len(block) / 2**30:.1f} GiB of main memory cannot be pinned: "
            f"{runtime.cudaGetErrorString(code)}"
        )


def _unpin(block: Tensor) -> None:
    torch.cuda.synchronize()  # copies that nobody waits for may be under way
    _runtime().cudaHostUnregister(block.data_ptr())


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _forget_error() -> None:
    """CUDA would have the next kernel fail by what went wrong before it."""
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError:
        return
