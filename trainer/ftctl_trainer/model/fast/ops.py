"""Which of the two sets of elementwise operations computes on a tensor's device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def ops_for(x: Tensor) -> Any:
    """`kernels` on a GPU, else `reference`."""
    if x.device.type == "cuda":
        from ftctl_trainer.model.fast import kernels

        return kernels
    from ftctl_trainer.model.fast import reference

    return reference
