"""Which files make a model, and their digest: the CLI computes it, the pods check it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ftctl.contract.checksum import file_sha256

MODEL_PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.py")


def folder_revision(folder: Path) -> str:
    """sha256 over the lines `name sha256` of the model's files in name order, 64 hex digits."""
    files = sorted({path for pattern in MODEL_PATTERNS for path in folder.glob(pattern)})
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()
