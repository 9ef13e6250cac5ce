"""How a large file is cut: the same for a size each time, so that a transfer can go on."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 2**20
# Large enough that a request's overhead is small, small enough for THREADS of them in memory.
PART_BYTES = 16 * MIB
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MOST_PARTS = 10_000
# Parts on their way at once, over all files of a store.
THREADS = 8


@dataclass(frozen=True)
class S3Object:
    """An object's address, with the client to reach it and the arguments for its writes."""

    client: S3Client
    bucket: str
    key: str
    write_args: dict[str, Any]

    @property
    def address(self) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.key}


@dataclass(frozen=True)
class Part:
    """A piece of a file; `number` counts from 1."""

    number: int
    start: int
    size: int


def plan(size: int) -> list[Part]:
    """Cut `size` bytes into at most MOST_PARTS parts of whole MiB, equal but for the last."""
    part_bytes = max(PART_BYTES, -(-size // MOST_PARTS // MIB) * MIB)
    starts = range(0, size, part_bytes)
    return [Part(n, start, min(part_bytes, size - start)) for n, start in enumerate(starts, 1)]


def sha256_base64(data: bytes) -> str:
    """The checksum of `data` as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
