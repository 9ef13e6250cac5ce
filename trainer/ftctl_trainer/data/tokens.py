"""What a tokenizer lacks, found without adding a token: a new id would resize trained weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ftctl.errors import ConfigError

# Tokens that model makers put aside for padding or keep unused, best first.
_PADDING = re.compile(
    r"<\|?finetune_right_pad_id\|?>|<\|?pad(ding)?\|?>|\[PAD\]|<unused0>|<\|?reserved_special_token_0\|?>",
    re.IGNORECASE,
)


def ensure_pad_token(tokenizer: Any) -> str:
    """
    Give the tokenizer a pad token that it already knows; return it.

    In this order: its own, one put aside for padding, the unknown token, the end token. Labels
    are masked by place, never by id, so that an end token which also pads is still learned.

    Raises:
        ConfigError: it has none of these.
    """
    if tokenizer.pad_token is not None and tokenizer.pad_token_id is not None:
        return str(tokenizer.pad_token)
    reserved = sorted(token for token in tokenizer.get_vocab() if _PADDING.fullmatch(token))
    for token in (*reserved, tokenizer.unk_token, tokenizer.eos_token):
        if token is not None:
            tokenizer.pad_token = token
            return str(token)
    raise ConfigError(
        "the tokenizer has no pad, unknown or end token",
        where="model.model_name",
        hint="Use a model whose tokenizer_config.json names an eos_token.",
    )


def check_vocabulary(tokenizer: Any, folder: Path) -> None:
    """
    Refuse a tokenizer with tokens that the model of the folder has no embedding for.

    Raises:
        ConfigError: names the first of them.
    """
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        rows = {**settings, **settings.get("text_config", {})}.get("vocab_size")
    except (OSError, ValueError, TypeError, AttributeError):
        return  # what is wrong with it is said where the model is loaded
    if not isinstance(rows, int):
        return
    beyond = sorted(
        (number, token) for token, number in tokenizer.get_vocab().items() if number >= rows
    )
    if beyond:
        raise ConfigError(
            f"the tokenizer has {len(beyond):,} tokens that the model has no embedding for, "
            f"{beyond[0][1]!r} the first: the model knows {rows:,}",
            where=str(folder),
            hint="Use the tokenizer files that belong to the model.",
        )
