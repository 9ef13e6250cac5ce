"""What the S3 client's failures mean. No exception of its libraries leaves the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from botocore import exceptions as boto
from botocore.exceptions import BotoCoreError, ClientError

from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError, NotFoundError

_KEYS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.profile."
_LOGIN = "Log in again, or hand over new credentials."
_LATER = "Retried with growing pauses, in vain. Try again later; what was uploaded is kept."
_REACH = "Check storage.endpoint_url, the network and the proxy (HTTPS_PROXY, NO_PROXY)."
_REGION = "Set storage.region to the region of the bucket."
_SSE = "Check storage.sse, and that these credentials may use the key."
_POLICY = "Allow s3:GetObject, PutObject, DeleteObject and ListBucket, or check the keys given."
_FULL = "Free some space or raise the quota, or choose another store with storage.url."

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; HEAD has the status only.
_CODES = {
    "InvalidAccessKeyId": ("the server does not know the access key", _KEYS),
    "SignatureDoesNotMatch": ("the secret key does not belong to the access key", _KEYS),
    "ExpiredToken": ("the credentials have expired", _LOGIN),
    "InvalidToken": ("the session token is not valid", _LOGIN),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "Set it, by NTP for example."),
    "AccessDenied": ("access denied", _POLICY),
    "AllAccessDisabled": ("access denied", _POLICY),
    "403": ("access denied", _POLICY),
    "NoSuchBucket": ("there is no such bucket", "Create it, or correct storage.url."),
    "InvalidBucketName": ("a bucket cannot have this name", "Correct storage.url."),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _REGION),
    "301": ("the bucket is in another region", _REGION),
    "BadDigest": ("the content was damaged on its way", "Try again."),
    "XAmzContentSHA256Mismatch": ("the content was damaged on its way", "Try again."),
    "SlowDown": ("the server asks to slow down", _LATER),
    "Throttling": ("the server asks to slow down", _LATER),
    "RequestLimitExceeded": ("the server asks to slow down", _LATER),
    "429": ("the server asks to slow down", _LATER),
    "QuotaExceeded": ("the store is full", _FULL),
    "XMinioStorageFull": ("the store is full", _FULL),
    "507": ("the store is full", _FULL),
    "NotImplemented": ("the server cannot do this", "Use one with conditional writes."),
}
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_MISSING = ("NoSuchKey", "404", "NotFound")

# In order: the first class that fits counts.
_CLASSES: tuple[tuple[type[Exception], str, str], ...] = (
    (boto.NoCredentialsError, "there are no credentials", _KEYS),
    (boto.PartialCredentialsError, "a part of the credentials is missing", _KEYS),
    (boto.ProfileNotFound, "storage.profile is not in the AWS config files", _KEYS),
    (boto.CredentialRetrievalError, "the credentials could not be renewed", _LOGIN),
    (boto.TokenRetrievalError, "the credentials could not be renewed", _LOGIN),
    (boto.SSOError, "the credentials could not be renewed", _LOGIN),
    (boto.MetadataRetrievalError, "the credentials could not be renewed", _LOGIN),
    (boto.NoRegionError, "no region is set", _REGION),
    (boto.InvalidRegionError, "the region is not valid", _REGION),
    (boto.SSLError, "the server's certificate is not trusted", "Set storage.ca_bundle."),
    (boto.ProxyConnectionError, "the proxy cannot be reached", _REACH),
    (boto.FlexibleChecksumError, "the content was damaged on its way", _LATER),
    (boto.ConnectionError, "the server cannot be reached", _REACH),
    (boto.IncompleteReadError, "the connection broke", _LATER),
    (boto.HTTPClientError, "the connection broke", _LATER),
    (boto.ParamValidationError, "the bucket or key is not valid", "Correct storage.url."),
)


@contextmanager
def s3_errors(where: str, endpoint: str) -> Iterator[None]:
    """Turn what the S3 client raises in the block into a StorageError at `where`."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise s3_error(error, where, endpoint) from error


def s3_error(error: Exception, where: str, endpoint: str) -> StorageError:
    """
    Say what a failure of the S3 client means.

    Built from its code or class alone: the client's own text may quote a request.
    """
    if isinstance(error, ClientError):
        return _answer_error(error, where, endpoint)
    for kind, what, hint in _CLASSES:
        if isinstance(error, kind):
            return StorageError(f"{what} ({server(endpoint)})", where=where, hint=hint)
    return StorageError(
        f"the S3 client failed: {type(error).__name__} ({server(endpoint)})",
        where=where,
        hint="Check the storage settings and the AWS config files.",
    )


def error_code(error: ClientError) -> str:
    """The code a server answered: a name, or the HTTP status where there was no body."""
    return error.response.get("Error", {}).get("Code", "")


def server(endpoint: str) -> str:
    """An endpoint as a message may show it: without user, password and query."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _answer_error(error: ClientError, where: str, endpoint: str) -> StorageError:
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _CONFLICTS:
        return ConflictError(
            "something else wrote this object at the same time", where=where, hint="Try again."
        )
    if code in _MISSING:
        return NotFoundError("there is no such object", where=where)
    if code.startswith(("KMS", "ServerSideEncryption", "InvalidEncryption")):
        what, hint = "the server cannot encrypt as asked", _SSE
    elif code.startswith("ExpiredToken"):
        what, hint = _CODES["ExpiredToken"]
    elif code in _CODES:
        what, hint = _CODES[code]
    elif status >= 500:
        what, hint = "the server failed", _LATER
    else:
        what, hint = _CODES.get(str(status), ("the server refused", "Check the storage settings."))
    return StorageError(f"{what} ({code}, {server(endpoint)})", where=where, hint=hint)
