"""What keys, parts and encryption settings may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftctl.errors import ConfigError, StorageError
from ftctl.storage.keys import check_key
from ftctl.storage.s3 import sse_args
from ftctl.storage.s3_parts import MIB, Part, plan, sha256_base64


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("/etc/passwd", "is empty, absolute", id="absolute"),
        pytest.param("a/", "has an empty part", id="folder"),
        pytest.param("a/../../b", "starts with a dot", id="climbs"),
        pytest.param("a/.lock", "starts with a dot", id="hides"),
        pytest.param("a\x00b", "control character", id="nul"),
        pytest.param("a\ud800", "is not valid Unicode", id="surrogate"),
        pytest.param("я" * 128, "a part has 256 bytes, 255 at most", id="long-name"),
        pytest.param("/".join(["x" * 200] * 6), "is too long", id="long-key"),
    ],
)
def test_a_bad_key_is_refused_with_the_reason(key: str, problem: str) -> None:
    with pytest.raises(StorageError, match=problem) as caught:
        check_key(key, where="s3://b")
    assert caught.value.where == "s3://b"
    assert repr(key) in caught.value.what


@pytest.mark.parametrize("key", ["a", "a/b.c", "_COMPLETE", "ключ с пробелом/é", "a..b"])
def test_a_good_key_is_returned(key: str) -> None:
    assert check_key(key, where="s3://b") == key


@pytest.mark.parametrize(
    ("size", "want"),
    [
        pytest.param(0, [], id="nothing"),
        pytest.param(1, [Part(1, 0, 1)], id="one-byte"),
        pytest.param(16 * MIB, [Part(1, 0, 16 * MIB)], id="exactly-one"),
        pytest.param(16 * MIB + 5, [Part(1, 0, 16 * MIB), Part(2, 16 * MIB, 5)], id="two"),
    ],
)
def test_a_file_is_cut_into_parts(size: int, want: list[Part]) -> None:
    assert plan(size) == want


@given(st.integers(0, 5 * 2**40))
def test_parts_cover_a_file_and_are_no_more_than_s3_takes(size: int) -> None:
    parts = plan(size)

    assert len(parts) <= 10_000
    assert sum(part.size for part in parts) == size
    assert all(part.size >= 5 * MIB for part in parts[:-1])
    position = 0
    for number, part in enumerate(parts, 1):
        assert (part.number, part.start) == (number, position)
        position += part.size


def test_a_checksum_is_written_as_s3_does() -> None:
    # Of no bytes, as in RFC 6234's test vectors, in base64.
    assert sha256_base64(b"") == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    ("sse", "want"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param("AES256", {"ServerSideEncryption": "AES256"}, id="aes"),
        pytest.param("aws:kms", {"ServerSideEncryption": "aws:kms"}, id="kms"),
        pytest.param(
            "aws:kms:arn:aws:kms:eu-1:1:key/2",
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "arn:aws:kms:eu-1:1:key/2"},
            id="kms-key",
        ),
    ],
)
def test_encryption_becomes_request_arguments(sse: str | None, want: dict[str, str]) -> None:
    assert sse_args(sse) == want


def test_an_unknown_encryption_is_refused() -> None:
    with pytest.raises(ConfigError, match="'rot13' is no encryption"):
        sse_args("rot13")
