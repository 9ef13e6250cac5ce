"""Which files make a model, and their digest: the CLI computes it, the pods check it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ftctl.contract.checksum import file_sha256

WEIGHTS_SUFFIX = ".safetensors"
MODEL_PATTERNS = (f"*{WEIGHTS_SUFFIX}", "*.json", "*.model", "*.txt", "*.jinja", "*.py")


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that make its model, in name order; hidden ones are none."""
    found = {path for pattern in MODEL_PATTERNS for path in folder.glob(pattern)}
    return sorted(path for path in found if not path.name.startswith("."))


def folder_revision(folder: Path) -> str:
    """The revision of the model in a folder, from its files' content."""
    return files_revision((path.name, file_sha256(path)) for path in model_files(folder))


def files_revision(files: Iterable[tuple[str, str]]) -> str:
    """sha256 over the lines `name sha256` of the model's files in name order, 64 hex digits."""
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
