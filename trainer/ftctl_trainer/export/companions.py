"""What lies beside the weights in a transformers folder: settings and tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ftctl.storage.files import os_errors
from ftctl_trainer.export.merge import EMBEDDING, OUTPUT
from ftctl_trainer.export.tensors import Tensor


def write_companions(
    base: Path, tokenizer: Path, tensors: list[Tensor], dtype: str, folder: Path
) -> None:
    """
    Copy settings and tokenizer of a merged model; config.json says what its tensors are.

    Args:
        base: the base model's folder.
        tokenizer: a folder whose files go before the base's.
        tensors: of the merged model.
        dtype: that they are stored in, as numpy names it.
        folder: is made.
    Raises:
        StorageError: the folder cannot be written.
    """
    with os_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for source in (base, tokenizer):
            for file in source.iterdir():
                if _is_companion(file):
                    shutil.copyfile(file, folder / file.name)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        shapes = {tensor.name: tensor.shape for tensor in tensors}
        config["dtype"] = config["torch_dtype"] = dtype
        config["tie_word_embeddings"] = OUTPUT not in shapes
        if EMBEDDING in shapes:
            config["vocab_size"] = shapes[EMBEDDING][0]
        config.pop("quantization_config", None)
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _is_companion(file: Path) -> bool:
    # The converter takes a model card's words, local paths among them, into the metadata.
    left_out = (
        file.suffix in (".safetensors", ".bin", ".gguf", ".md") or "safetensors.index" in file.name
    )
    return file.is_file() and not left_out and not file.name.startswith(("_", "adapter_"))
