"""A store in an S3 bucket, of AWS or any other server that has conditional writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from ftctl.errors import ConfigError
from ftctl.storage.base import NotFoundError, ObjectInfo, Progress, Unfinished
from ftctl.storage.files import os_errors
from ftctl.storage.keys import check_key
from ftctl.storage.s3_client import unbroken
from ftctl.storage.s3_download import download_file
from ftctl.storage.s3_errors import error_code, s3_errors
from ftctl.storage.s3_parts import THREADS, S3Object, sha256_base64
from ftctl.storage.s3_unfinished import discard_upload, unfinished_uploads
from ftctl.storage.s3_upload import upload_file

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Another conditional write to the key was on its way; AWS asks to repeat ours.
_BUSY = "ConditionalRequestConflict"
_BUSY_ATTEMPTS = 8


class S3Store:
    """Objects of one bucket below a prefix. Safe to use from several threads."""

    def __init__(
        self, client: S3Client, bucket: str, prefix: str = "", *, sse: str | None = None
    ) -> None:
        """
        Args:
            prefix: what all keys begin with, as `team/runs`; slashes around it do not count.
            sse: AES256, aws:kms, or aws:kms:KEY-ID. Raises ConfigError for anything else.
        """
        prefix = prefix.strip("/")
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client, self._bucket = client, bucket
        self._prefix = f"{check_key(prefix, where=self.url)}/" if prefix else ""
        self._sse = sse_args(sse)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ftctl-s3")
        self._bucket_seen = False

    def read(self, key: str) -> bytes:
        return self.read_tagged(key)[0]

    def read_tagged(self, key: str) -> tuple[bytes, str]:
        return self._get(key, ChecksumMode="ENABLED")

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if length <= 0:
            if self.stat(key) is None:
                raise NotFoundError("there is no such object", where=self._where(key))
            return b""
        with self._errors(key):
            try:
                return self._get_raw(key, Range=f"bytes={start}-{start + length - 1}")[0]
            except ClientError as error:
                if error_code(error) == "InvalidRange":
                    return b""
                raise

    def write(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        with self._errors(key):
            try:
                return self._put(key, data, condition)
            except ClientError as error:
                if condition and error_code(error) in ("NoSuchKey", "404"):
                    error.response["Error"]["Code"] = "PreconditionFailed"
                won = self._own_write(key, data, error)
                if won is None:
                    raise
                return won

    def stat(self, key: str) -> ObjectInfo | None:
        with self._errors(key):
            try:
                head = self._client.head_object(**self._object(key).address)
            except ClientError as error:
                if error_code(error) not in ("404", "NoSuchKey", "NotFound"):
                    raise
                self._need_bucket()
                return None
        return ObjectInfo(key, head["ContentLength"], head["ETag"].strip('"'), head["LastModified"])

    def list(self, prefix: str = "", *, limit: int | None = None) -> Iterator[ObjectInfo]:
        with self._errors(prefix):
            yield from islice(self._in_order(prefix), limit)

    def delete(self, key: str) -> None:
        with self._errors(key):
            try:
                self._client.delete_object(**self._object(key).address)
            except ClientError as error:
                if error_code(error) != "NoSuchKey":
                    raise

    def upload(self, path: Path, key: str, *, progress: Progress | None = None) -> str:
        # In this order: some of the S3 client's failures are OSErrors too.
        with os_errors(str(path)), self._errors(key):
            return upload_file(self._object(key), path, self._pool, progress)

    def download(
        self, key: str, path: Path, *, sha256: str | None = None, progress: Progress | None = None
    ) -> None:
        with os_errors(str(path)), self._errors(key):
            try:
                download_file(self._object(key), path, self._pool, sha256=sha256, progress=progress)
            except ClientError as error:
                if error_code(error) == "404":
                    self._need_bucket()
                raise

    def unfinished(self) -> Iterator[Unfinished]:
        with self._errors(""):
            yield from unfinished_uploads(self._client, self._bucket, self._prefix)

    def discard(self, unfinished: Unfinished) -> None:
        with self._errors(unfinished.key):
            discard_upload(self._object(unfinished.key), unfinished.name)

    def _get(self, key: str, **options: Any) -> tuple[bytes, str]:
        with self._errors(key):
            return self._get_raw(key, **options)

    def _get_raw(self, key: str, **options: Any) -> tuple[bytes, str]:
        def get() -> tuple[bytes, str]:
            answer = self._client.get_object(**self._object(key).address, **options)
            return answer["Body"].read(), answer["ETag"].strip('"')

        return unbroken(get)

    def _put(self, key: str, data: bytes, condition: dict[str, Any]) -> str:
        for attempt in range(_BUSY_ATTEMPTS):
            try:
                answer = self._client.put_object(
                    **self._object(key).address,
                    Body=data,
                    ChecksumSHA256=sha256_base64(data),
                    **condition,
                    **self._sse,
                )
                return answer["ETag"].strip('"')
            except ClientError as error:
                if error_code(error) != _BUSY or attempt == _BUSY_ATTEMPTS - 1:
                    raise
                time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable")

    def _own_write(self, key: str, data: bytes, error: ClientError) -> str | None:
        """
        The etag of our own write, if the condition failed because of it.

        When an answer is lost the client repeats the request, and the condition no longer holds.
        """
        repeated = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
        if error_code(error) != "PreconditionFailed" or not repeated:
            return None
        try:
            present, etag = self._get_raw(key)
        except ClientError as gone:
            if error_code(gone) != "NoSuchKey":
                raise
            return None
        return etag if present == data else None

    def _in_order(self, prefix: str) -> Iterator[ObjectInfo]:
        # Servers over a file system list a folder at its name's place: `a/b` before `a-b`. Until
        # the first key within a folder the order is that of the keys; from there on we sort.
        rest: list[ObjectInfo] = []
        for info in self._listed(prefix):
            if rest or "/" in info.key[len(prefix) :]:
                rest.append(info)
            else:
                yield info
        yield from sorted(rest, key=lambda info: info.key.encode())

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        for page in pages:
            for entry in page.get("Contents", []):
                key = entry["Key"][len(self._prefix) :]
                etag = entry["ETag"].strip('"')
                yield ObjectInfo(key, entry["Size"], etag, entry["LastModified"])

    def _need_bucket(self) -> None:
        """Raise NoSuchBucket if that is why a HEAD found nothing: its answer cannot say so."""
        if self._bucket_seen:
            return
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchBucket"):
                error.response["Error"]["Code"] = "NoSuchBucket"
                raise
        self._bucket_seen = True

    def _object(self, key: str) -> S3Object:
        name = self._prefix + check_key(key, where=self.url)
        return S3Object(self._client, self._bucket, name, self._sse)

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return s3_errors(self._where(key), self._client.meta.endpoint_url)

    def _where(self, key: str) -> str:
        return f"{self.url}/{key}"


def sse_args(sse: str | None) -> dict[str, Any]:
    """The request arguments of `storage.sse`."""
    if not sse:
        return {}
    if sse in ("AES256", "aws:kms"):
        return {"ServerSideEncryption": sse}
    if sse.startswith("aws:kms:"):
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": sse.removeprefix("aws:kms:")}
    raise ConfigError(
        f"{sse!r} is no encryption",
        where="storage.sse",
        hint="Give AES256, aws:kms, or aws:kms:KEY-ID.",
    )
