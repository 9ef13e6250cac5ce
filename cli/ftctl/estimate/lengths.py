"""Tokens in a text, when no tokenizer is at hand."""

from __future__ import annotations

import re

# Characters a token. English prose has 4 to 4.5 in all current vocabularies, JSON and lists of
# names fewer; Cyrillic has 2 to 3 in multilingual ones and 1 to 1.5 in English ones; Chinese,
# Japanese and Korean about 1.
_LATIN, _OTHER_LETTERS, _IDEOGRAPHS = 4.0, 1.7, 1.0
_WORDS = re.compile(r"[A-Za-z\s]+")
_IDEOGRAPH = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
# Punctuation and digits: most stand alone, some in pairs.
_SIGN = 1.5
_SIGNS = re.compile(r"[!-@\[-`{-~]")
# Role names and separators of a chat template.
TURN_TOKENS = 5


def estimated_tokens(text: str) -> int:
    """Tokens of a text, within a third for English, Russian and JSON."""
    latin = sum(map(len, _WORDS.findall(text)))
    signs = len(_SIGNS.findall(text))
    ideographs = len(_IDEOGRAPH.findall(text))
    rest = max(0, len(text) - latin - signs - ideographs)
    count = latin / _LATIN + signs / _SIGN + ideographs / _IDEOGRAPHS + rest / _OTHER_LETTERS
    return round(count)
