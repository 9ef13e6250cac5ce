"""Writes an adapter's folder: equal runs give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def save_adapter(tuned: Any, tokenizer: Any, folder: Path, *, base: str, revision: str) -> None:
    """
    Write PEFT's files and the tokenizer's, chat template included.

    Args:
        base: the base model's name, which the adapter records in place of a local path.
    """
    # DPO, KTO and GRPO may keep a second adapter, their reference.
    tuned.save_pretrained(folder, save_embedding_layers=False, selected_adapters=["default"])
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    config["revision"] = revision or None
    # PEFT keeps these as sets, whose order changes from process to process.
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
