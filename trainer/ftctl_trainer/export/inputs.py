"""What a GGUF is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inputs:
    """What a GGUF is made of: folders of the base model and the adapter, and a name for people."""

    base: Path
    adapter: Path
    name: str

    @property
    def tokenizer(self) -> Path:
        """The tokenizer as it was trained with, which the adapter's folder has."""
        saved = (self.adapter / file for file in ("tokenizer.json", "tokenizer.model"))
        return self.adapter if any(file.exists() for file in saved) else self.base
