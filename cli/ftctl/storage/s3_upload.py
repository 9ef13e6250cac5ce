"""Copies a file to S3: in parallel parts, going on where an earlier attempt ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ftctl.errors import StorageError
from ftctl.storage.base import Progress
from ftctl.storage.files import COPY_BYTES
from ftctl.storage.parallel import abandon
from ftctl.storage.s3_errors import error_code
from ftctl.storage.s3_parts import PART_BYTES, Part, S3Object, plan, sha256_base64

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, PartTypeDef

# The upload we went on with was ended by another writer, or holds what no longer fits.
_STALE = ("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall")
_STARTS = 3
# Servers that cannot list unfinished uploads, or credentials that may not: begin a new one.
NO_LIST = ("AccessDenied", "NotImplemented", "MethodNotAllowed")


def upload_file(
    target: S3Object, path: Path, pool: Executor, progress: Progress | None = None
) -> str:
    """
    Copy a file to an object; return its sha256 (hex).

    Parts that fail leave the upload unfinished in the bucket, for the next attempt. A bucket's
    lifecycle rule (AbortIncompleteMultipartUpload) removes those that nobody goes on with.

    Raises:
        StorageError: the file changed meanwhile.
        ClientError, BotoCoreError, OSError: translated by the caller.
    """
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        if before.st_size <= PART_BYTES:
            digest = _put(target, file.read(), progress)
        else:
            digest = _put_parts(target, file.fileno(), plan(before.st_size), pool, progress)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise StorageError(
            "the file changed while it was uploaded",
            where=str(path),
            hint="Try again when nothing writes it.",
        )
    return digest


def _put(target: S3Object, data: bytes, progress: Progress | None) -> str:
    target.client.put_object(
        **target.address, Body=data, ChecksumSHA256=sha256_base64(data), **target.write_args
    )
    if progress and data:
        progress(len(data))
    return hashlib.sha256(data).hexdigest()


def _put_parts(
    target: S3Object, file: int, parts: list[Part], pool: Executor, progress: Progress | None
) -> str:
    moved = _Once(progress)
    for start in range(1, _STARTS + 1):
        upload = _Upload(target, file, moved)
        try:
            return upload.run(parts, pool)
        except ClientError as error:
            if error_code(error) not in _STALE or start == _STARTS:
                raise
            upload.abort()
    raise AssertionError("unreachable")


class _Once:
    """Reports each part's bytes once, even when an upload starts over."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._reported: set[int] = set()

    def __call__(self, part: Part) -> None:
        if self._progress and part.number not in self._reported:
            self._reported.add(part.number)
            self._progress(part.size)


class _Upload:
    """One multipart upload of the server, new or gone on with."""

    def __init__(self, target: S3Object, file: int, moved: _Once) -> None:
        self._client, self._target, self._file, self._moved = target.client, target, file, moved
        found = self._unfinished()
        self._id = found or self._begin()
        self._present = {p["PartNumber"]: p for p in self._listed()} if found else {}

    def run(self, parts: list[Part], pool: Executor) -> str:
        """Send what is missing and put the object together; return the file's sha256 (hex)."""
        futures = [pool.submit(self._send, part) for part in parts]
        try:
            # Beside the senders, on pages that they have just read.
            digest = _file_sha256(self._file)
            done = [future.result() for future in futures]
        finally:
            abandon(futures)
        self._client.complete_multipart_upload(
            **self._target.address, UploadId=self._id, MultipartUpload={"Parts": done}
        )
        return digest

    def abort(self) -> None:
        """Drop the upload from the server."""
        with suppress(ClientError):
            self._client.abort_multipart_upload(**self._target.address, UploadId=self._id)

    def _send(self, part: Part) -> CompletedPartTypeDef:
        data = os.pread(self._file, part.size, part.start)
        checksum = sha256_base64(data)
        present = self._present.get(part.number)
        if present and _same(present, data, checksum):
            etag = present["ETag"]
        else:
            etag = self._client.upload_part(
                **self._target.address,
                UploadId=self._id,
                PartNumber=part.number,
                Body=data,
                ChecksumSHA256=checksum,
            )["ETag"]
        self._moved(part)
        return {"PartNumber": part.number, "ETag": etag, "ChecksumSHA256": checksum}

    def _begin(self) -> str:
        return self._client.create_multipart_upload(
            **self._target.address, ChecksumAlgorithm="SHA256", **self._target.write_args
        )["UploadId"]

    def _unfinished(self) -> str | None:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._target.bucket, Prefix=self._target.key
        )
        try:
            uploads = [upload for page in pages for upload in page.get("Uploads", [])]
        except ClientError as error:
            if error_code(error) in NO_LIST:
                return None
            raise
        ours = [upload for upload in uploads if upload["Key"] == self._target.key]
        return max(ours, key=lambda upload: upload["Initiated"])["UploadId"] if ours else None

    def _listed(self) -> Iterable[PartTypeDef]:
        pages = self._client.get_paginator("list_parts").paginate(
            **self._target.address, UploadId=self._id
        )
        return [part for page in pages for part in page.get("Parts", [])]


def _same(present: PartTypeDef, data: bytes, checksum: str) -> bool:
    if present["Size"] != len(data):
        return False
    if "ChecksumSHA256" in present:
        return present["ChecksumSHA256"] == checksum
    return present["ETag"].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


def _file_sha256(file: int) -> str:
    digest = hashlib.sha256()
    position = 0
    while block := os.pread(file, COPY_BYTES, position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()
