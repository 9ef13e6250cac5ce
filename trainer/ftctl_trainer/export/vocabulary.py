"""A tokenizer's vocabulary as GGUF metadata: byte-level BPE and SentencePiece."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import gguf

from ftctl.errors import RunFailedError
from ftctl_trainer.data.pretokenizers import pre_tokenizer_name
from ftctl_trainer.export.unsupported import needs_llama_cpp


def add_vocabulary(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    """
    Write the tokenizer.* keys, special tokens and the chat template among them.

    Args:
        folder: holds tokenizer.json or tokenizer.model, and tokenizer_config.json.
        size: rows of the embedding; ids without a token become unused ones.
    Raises:
        RunFailedError: a kind of tokenizer not handled here.
    """
    if _is_sentencepiece(folder):
        _add_sentencepiece(writer, folder, size)
    else:
        _add_bytelevel(writer, folder, size)
    special = gguf.SpecialVocab(folder, load_merges=not _is_sentencepiece(folder), n_vocab=size)
    special.add_to_gguf(writer, quiet=True)


def pre_tokenizer(tokenizer: dict[str, Any]) -> str:
    """
    llama.cpp's name of a byte-level tokenizer's way to split text, told by its structure.

    Raises:
        RunFailedError: none of the structures known here.
    """
    steps = tokenizer.get("pre_tokenizer")
    name = pre_tokenizer_name(steps)
    if name is None:
        raise needs_llama_cpp(f"pre-tokenizer {json.dumps(steps)[:200]}")
    return name


def _is_sentencepiece(folder: Path) -> bool:
    return (folder / "tokenizer.model").exists()


def _add_bytelevel(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = tokenizer["model"]
    decoder = tokenizer.get("decoder") or {}
    if model.get("type") != "BPE" or decoder.get("type") != "ByteLevel":
        raise needs_llama_cpp(f"tokenizer {model.get('type')} with decoder {decoder.get('type')}")
    tokens = {index: text for text, index in model["vocab"].items()}
    kinds = dict.fromkeys(tokens, gguf.TokenType.NORMAL)
    for added in tokenizer.get("added_tokens", []):
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = (
            gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        )
    if max(tokens) >= size:
        raise RunFailedError(
            f"the tokenizer has token {max(tokens)}, the embedding {size} rows", where=str(folder)
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(tokenizer))
    writer.add_token_list([tokens.get(index, f"[PAD{index}]") for index in range(size)])
    writer.add_token_types([kinds.get(index, gguf.TokenType.UNUSED) for index in range(size)])


def _add_sentencepiece(writer: gguf.GGUFWriter, folder: Path, size: int) -> None:
    if importlib.util.find_spec("sentencepiece") is None:
        raise RunFailedError(
            "this tokenizer needs the package sentencepiece", hint="pip install sentencepiece"
        )
    vocabulary = gguf.vocab.SentencePieceVocab(folder)
    tokens, scores, kinds = (list(column) for column in zip(*vocabulary.all_tokens(), strict=True))
    missing = size - len(tokens)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens + [f"[PAD{index}]" for index in range(len(tokens), size)])
    writer.add_token_scores(scores + [-1000.0] * missing)
    writer.add_token_types(kinds + [gguf.TokenType.UNUSED] * missing)
