"""Multipart uploads that nobody completed: they take room, and no listing shows them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ftctl.storage.base import Unfinished
from ftctl.storage.s3_errors import error_code
from ftctl.storage.s3_parts import S3Object
from ftctl.storage.s3_upload import NO_LIST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)


def unfinished_uploads(client: S3Client, bucket: str, prefix: str) -> Iterator[Unfinished]:
    """
    Yield the uploads below a prefix, with the bytes of the parts that they have.

    Raises:
        ClientError, BotoCoreError: translated by the caller.
    """
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    try:
        uploads = [upload for page in pages for upload in page.get("Uploads", [])]
    except ClientError as error:
        if error_code(error) not in NO_LIST:
            raise
        _log.warning("unfinished uploads of %s cannot be listed: %s", bucket, error_code(error))
        return
    for upload in uploads:
        # Some servers take the prefix for a folder, and list its neighbours too.
        if upload["Key"].startswith(prefix):
            target = S3Object(client, bucket, upload["Key"], {})
            key = upload["Key"].removeprefix(prefix)
            size = _size(target, upload["UploadId"])
            yield Unfinished(key, upload["UploadId"], size, upload["Initiated"])


def discard_upload(target: S3Object, upload_id: str) -> None:
    """Drop an upload from the server; one that ended meanwhile is no error. Raises as above."""
    try:
        target.client.abort_multipart_upload(**target.address, UploadId=upload_id)
    except ClientError as error:
        if error_code(error) != "NoSuchUpload":
            raise


def _size(target: S3Object, upload_id: str) -> int:
    pages = target.client.get_paginator("list_parts").paginate(**target.address, UploadId=upload_id)
    try:
        return sum(part["Size"] for page in pages for part in page.get("Parts", []))
    except ClientError as error:
        if error_code(error) != "NoSuchUpload":
            raise
        return 0
