"""What only llama.cpp's own converter and quantizer can do."""

from __future__ import annotations

from ftctl.contract.exportable import WITH_LLAMA_CPP
from ftctl.errors import RunFailedError


def needs_llama_cpp(what: str, *, where: str | None = None) -> RunFailedError:
    """The error for something that the built-in export does not handle."""
    return RunFailedError(
        f"{what}: not handled without llama.cpp's own converter and quantizer",
        where=where,
        hint=WITH_LLAMA_CPP,
    )
