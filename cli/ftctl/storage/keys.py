"""What a key may look like: the same in a folder and in S3, so that a store can move."""

from __future__ import annotations

from ftctl.errors import StorageError

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html; NAME_MAX of Linux.
_KEY_BYTES = 1024
_SEGMENT_BYTES = 255


def check_key(key: str, *, where: str) -> str:
    """
    Return a key that is relative, `/`-separated and hides nothing, or raise StorageError.

    Names with a leading dot are the stores' own (locks, half-written files) and never listed.

    Args:
        where: URL of the store, for the message.
    """
    problem = _problem(key)
    if problem is None:
        return key
    raise StorageError(
        f"the key {key!r} {problem}",
        where=where,
        hint="Use a relative key of names joined by /, without a leading dot.",
    )


def _problem(key: str) -> str | None:
    segments = key.split("/")
    if not key or "" in segments:
        return "is empty, absolute, or has an empty part"
    if any(segment.startswith(".") for segment in segments):
        return "has a part that starts with a dot"
    if any(ord(character) < 32 or character == "\x7f" for character in key):
        return "has a control character"
    try:
        sizes = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if max(sizes) > _SEGMENT_BYTES or len(key.encode()) > _KEY_BYTES:
        return f"is too long: a part has {max(sizes)} bytes, {_SEGMENT_BYTES} at most"
    return None
