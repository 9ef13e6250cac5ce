"""GGUF files of nothing but metadata."""

from __future__ import annotations

import struct

_BOOL, _STRING, _ARRAY, _U32, _F32 = 7, 8, 9, 4, 6


def gguf_bytes(
    *, architecture: str = "llama", template: str | None = None, version: int = 3
) -> bytes:
    """A header with a value of each kind, and lists between them."""
    pairs = [
        _pair("general.architecture", _STRING, _text(architecture)),
        _pair("llama.block_count", _U32, struct.pack("<I", 2)),
        _pair("tokenizer.ggml.tokens", _ARRAY, _list(_STRING, [_text("a"), _text("bc")])),
        _pair("tokenizer.ggml.scores", _ARRAY, _list(_F32, [struct.pack("<f", 0.5)] * 2)),
        _pair(
            "some.lists", _ARRAY, _list(_ARRAY, [_list(_STRING, [_text("x")]), _list(_BOOL, [])])
        ),
        _pair("tokenizer.ggml.add_bos_token", _BOOL, b"\1"),
    ]
    if template is not None:
        pairs.append(_pair("tokenizer.chat_template", _STRING, _text(template)))
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + b"".join(pairs)


def _pair(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _list(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)
