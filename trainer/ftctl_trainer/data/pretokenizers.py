"""How byte-level tokenizers split text before they merge, by llama.cpp's names for it."""

from __future__ import annotations

from typing import Any

# The regular expressions that llama.cpp implements under these names (src/llama-vocab.cpp), as
# their models' tokenizer.json has them.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SPACES = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "llama-bpe": _WORDS + r"\p{N}{1,3}" + _SPACES,
    "qwen2": _WORDS + r"\p{N}" + _SPACES,
}


def pre_tokenizer_name(steps: dict[str, Any] | None) -> str | None:
    """
    llama.cpp's name, told by the structure; None for one not known here.

    Args:
        steps: `pre_tokenizer` of a tokenizer.json.
    """
    steps = steps or {}
    parts = steps.get("pretokenizers", [steps])
    match [part.get("type") for part in parts]:
        case ["ByteLevel"]:
            return "gpt-2"
        case ["Digits", "ByteLevel"] if parts[0].get("individual_digits"):
            return "smollm"
        case ["Split", "ByteLevel"]:
            pattern = parts[0].get("pattern", {}).get("Regex")
            return next((name for name, known in _SPLITS.items() if known == pattern), None)
    return None


def make_pre_tokenizer(name: str) -> Any | None:
    """The tokenizers.pre_tokenizers object of a name; None for one not known here."""
    from tokenizers import Regex, pre_tokenizers

    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name == "smollm":
        first: Any = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if name in _SPLITS:
        first = pre_tokenizers.Split(Regex(_SPLITS[name]), behavior="isolated")
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([first, rest])
    return None
