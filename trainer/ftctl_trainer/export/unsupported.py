"""What only llama.cpp's own converter and quantizer can do."""

from __future__ import annotations

from ftctl.contract.exportable import WITH_LLAMA_CPP
from ftctl.errors import RunFailedError


class NeedsLlamaCppError(RunFailedError):
    """The built-in export does not handle something; llama.cpp's own tools do."""


class CannotStreamError(RunFailedError):
    """llama.cpp's converter reads or makes a model's tensors in a way of its own."""


def needs_llama_cpp(what: str, *, where: str | None = None) -> NeedsLlamaCppError:
    """The error for something that the built-in export does not handle."""
    return NeedsLlamaCppError(
        f"{what}: not handled without llama.cpp's own converter and quantizer",
        where=where,
        hint=WITH_LLAMA_CPP,
    )
