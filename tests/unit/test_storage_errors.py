"""What failures of the S3 client and the operating system are turned into."""

from __future__ import annotations

import errno
import inspect

import pytest
from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError, NotFoundError
from ftctl.storage.files import os_error, os_errors
from ftctl.storage.s3_errors import s3_error, s3_errors, server

ENDPOINT = "https://user:secret@s3.example.com:9000/?token=secret"
FOREIGN = [
    kind
    for _, kind in inspect.getmembers(boto, inspect.isclass)
    if issubclass(kind, Exception) and not issubclass(kind, Warning)
    # The loader of the library's own models raises it, and no request.
    if not issubclass(kind, boto.UndefinedModelAttributeError) and kind.__module__ == boto.__name__
]


def answer(code: str, status: int = 400) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "with a secret in it"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "PutObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "status", "what"),
    [
        pytest.param("InvalidAccessKeyId", 403, "does not know the access key", id="key"),
        pytest.param("SignatureDoesNotMatch", 403, "secret key does not belong", id="secret"),
        pytest.param("ExpiredToken", 400, "credentials have expired", id="expired"),
        pytest.param("ExpiredTokenException", 400, "credentials have expired", id="expired-sts"),
        pytest.param("AccessDenied", 403, "access denied", id="denied"),
        pytest.param("403", 403, "access denied", id="denied-head"),
        pytest.param("SomethingElse", 403, "access denied", id="denied-by-status"),
        pytest.param("NoSuchBucket", 404, "no such bucket", id="bucket"),
        pytest.param("PermanentRedirect", 301, "another region", id="region"),
        pytest.param("RequestTimeTooSkewed", 403, "clock of this machine", id="clock"),
        pytest.param("SlowDown", 503, "asks to slow down", id="slow-down"),
        pytest.param("InternalError", 500, "the server failed", id="internal"),
        pytest.param("QuotaExceeded", 403, "the store is full", id="full"),
        pytest.param("KMS.DisabledException", 400, "cannot encrypt", id="kms"),
        pytest.param("BadDigest", 400, "damaged on its way", id="digest"),
        pytest.param("Strange", 400, "the server refused", id="unknown"),
    ],
)
def test_an_answer_becomes_a_storage_error(code: str, status: int, what: str) -> None:
    found = s3_error(answer(code, status), "s3://b/x", ENDPOINT)

    assert type(found) is StorageError
    assert what in found.what
    assert code in found.what
    assert found.where == "s3://b/x"
    assert found.hint
    assert "secret@" not in str(found)
    assert "with a secret" not in str(found)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param("NoSuchKey", NotFoundError, id="no-key"),
        pytest.param("404", NotFoundError, id="head"),
        pytest.param("PreconditionFailed", ConflictError, id="condition"),
        pytest.param("ConditionalRequestConflict", ConflictError, id="busy"),
    ],
)
def test_an_answer_that_callers_tell_apart(code: str, kind: type[StorageError]) -> None:
    assert type(s3_error(answer(code), "s3://b/x", ENDPOINT)) is kind


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_no_exception_of_the_s3_client_gets_out(kind: type[Exception]) -> None:
    assert issubclass(kind, BotoCoreError | ClientError)
    error = kind.__new__(kind)
    if isinstance(error, ClientError):
        error.response = {}

    with pytest.raises(StorageError) as caught, os_errors("/d"), s3_errors("s3://b/x", ENDPOINT):
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.where == "s3://b/x"
    assert caught.value.hint


def test_an_endpoint_is_shown_without_user_and_query() -> None:
    assert server(ENDPOINT) == "https://s3.example.com:9000"


@pytest.mark.parametrize(
    ("number", "what"),
    [
        pytest.param(errno.ENOSPC, "no space is left to write this (/d/x)", id="full"),
        pytest.param(errno.EDQUOT, "no space is left to write this (/d/x)", id="quota"),
        pytest.param(errno.EFBIG, "no space is left to write this (/d/x)", id="file-size"),
        pytest.param(errno.EACCES, "permission denied (/d/x)", id="denied"),
        pytest.param(errno.EROFS, "permission denied (/d/x)", id="read-only"),
        pytest.param(errno.ENOTDIR, "a file stands where a folder is needed", id="in-the-way"),
        pytest.param(errno.ENOLCK, "this file system has no file locks", id="locks"),
        pytest.param(errno.EIO, "the operating system refused (/d/x)", id="other"),
    ],
)
def test_an_os_error_becomes_a_storage_error(number: int, what: str) -> None:
    found = os_error(OSError(number, "as the system says", "/d/x"), "/d")

    assert found.what.startswith(what)
    assert found.where == "/d"
    assert found.hint
