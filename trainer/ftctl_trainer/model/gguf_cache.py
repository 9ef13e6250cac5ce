"""A GGUF file as a base model: unpacked once into safetensors, as loading it takes its time."""

from __future__ import annotations

import json
import logging
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

import gguf

from ftctl.errors import ConfigError
from ftctl_trainer.data.pretokenizers import make_pre_tokenizer, pre_tokenizer_name
from ftctl_trainer.model.cache import cache_errors, models_dir

_log = logging.getLogger(__name__)

# Raised when the same file would be unpacked otherwise.
_UNPACKING = 2


def unpacked_gguf(path: Path, sha256: str) -> Path:
    """
    Return a folder with the file's model (dequantized, bfloat16) and tokenizer.

    It is written under a temporary name and renamed, so a folder that is there is whole.

    Raises:
        ConfigError: transformers cannot read this file.
        StorageError: the cache cannot be written.
    """
    folder = unpacked_folder(sha256)
    if folder.is_dir():
        return folder
    _log.info("unpacking %s, once", path.name)
    with cache_errors():
        partial = Path(tempfile.mkdtemp(prefix=f".{sha256[:12]}-", dir=folder.parent))
    try:
        with cache_errors():
            _unpack(path, partial)
            partial.chmod(0o755)
            _rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def unpacked_folder(sha256: str) -> Path:
    """Where the model of such a GGUF file is once it is unpacked."""
    return models_dir() / f"{sha256}-{_UNPACKING}"


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, which is as good
            raise


def _unpack(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
        _restore_pre_tokenizer(tokenizer, path)
    # Cut or damaged files fail wherever the reader happens to be.
    except (ValueError, LookupError, OverflowError, ImportError, struct.error) as error:
        raise ConfigError(
            f"the GGUF file cannot be used as a base model: {error}",
            where=str(path),
            hint="Use the model's original folder, or its hub name.",
        ) from error
    # The weights are dense now; with these left, save_pretrained refuses.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    model.hf_quantizer = None
    model = model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    # Of processes that train together transformers has the first alone write; this folder is of
    # one machine, and which of its processes unpacks is chance.
    model.should_save_on_this_rank = lambda *_, **__: True
    model.save_pretrained(folder)
    if not any(folder.glob("*.safetensors")):
        raise RuntimeError(f"transformers has written no weights to {folder}")
    tokenizer.save_pretrained(folder)


def _restore_pre_tokenizer(tokenizer: Any, path: Path) -> None:
    """
    Split text as the file says.

    transformers makes GPT-2's splitting of every byte-level vocabulary; others part digits.
    """
    field = gguf.GGUFReader(path).get_field(gguf.Keys.Tokenizer.PRE)
    said = field and str(field.contents())
    now = json.loads(tokenizer.backend_tokenizer.to_str())["pre_tokenizer"]
    if said is None or pre_tokenizer_name(now) in (None, said):
        return
    made = make_pre_tokenizer(said)
    if made is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = made
