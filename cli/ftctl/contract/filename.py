"""A file name that every store and file system takes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

# Stores and file systems take 255 bytes, a type and a suffix among them; they hide what begins
# with a dot.
_BYTES = 200
_NAME = re.compile(r"[^.\x00-\x1f\x7f][^\x00-\x1f\x7f]*")


def checked_name(value: str) -> str:
    """Return a GGUF file's name, with or without its suffix. Raises ValueError."""
    if "/" in value or "\\" in value:
        raise ValueError(
            f"{value!r} is a path, and a run's files stand in its own folder of the store; "
            "give the file name alone, and paths.final_weights_path for copies elsewhere"
        )
    stem = value.removesuffix(".gguf")
    if not _NAME.fullmatch(stem) or len(stem.encode()) > _BYTES:
        raise ValueError(
            f"{value!r} is no file name: it needs 1 to {_BYTES} bytes, without a dot before them"
        )
    return value


FileName = Annotated[str, AfterValidator(checked_name)]
