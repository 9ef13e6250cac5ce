"""What only llama.cpp's own converter and quantizer can do."""

from __future__ import annotations

from ftctl.errors import RunFailedError


class NeedsLlamaCppError(RunFailedError):
    """The built-in export does not handle something; llama.cpp's own tools do."""


def needs_llama_cpp(what: str, *, where: str | None = None) -> NeedsLlamaCppError:
    """The error for something that the built-in export does not handle."""
    return NeedsLlamaCppError(
        f"{what}: not handled without llama.cpp's own converter and quantizer",
        where=where,
        hint="Set paths.llama_cpp_dir to llama.cpp's sources, with llama-quantize built in "
        "paths.quantized_path below it.",
    )
