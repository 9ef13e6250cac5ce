"""Makes the S3 client: patient, with credentials that renew themselves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)

from ftctl.errors import ConfigError
from ftctl.storage.s3_errors import s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

# With botocore's standard mode: pauses double up to 20 s, about half a minute in all.
ATTEMPTS = 6
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
# Parts in flight, and small requests beside them (status, lease, listings).
CONNECTIONS = 40

# An answer that began and broke off: botocore repeats requests, not their bodies.
_BROKEN_OFF = (HTTPClientError, IncompleteReadError, FlexibleChecksumError)


def s3_client(
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    addressing: Literal["auto", "path", "virtual"] = "auto",
    ca_bundle: str | None = None,
    attempts: int = ATTEMPTS,
) -> S3Client:
    """
    Return a client of AWS or another S3 server; safe to share between threads.

    Credentials are looked up, and renewed before they expire, by the AWS client's own chain:
    environment, profile, web identity, container, instance.

    Raises:
        ConfigError: the endpoint is no URL, or there is no such file or profile.
        StorageError: the AWS config files cannot be used.
    """
    from boto3.session import Session
    from botocore.config import Config

    if endpoint_url and not endpoint_url.startswith(("http://", "https://")):
        raise ConfigError(
            "the endpoint is no http:// or https:// URL",
            where="storage.endpoint_url",
            hint="Write it as https://host:port.",
        )
    if ca_bundle and not Path(ca_bundle).is_file():
        raise ConfigError(
            f"there is no file {ca_bundle}",
            where="storage.ca_bundle",
            hint="Give a PEM file with the authority's certificates.",
        )
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        s3={"addressing_style": addressing},
        # We send SHA-256 ourselves; the client's CRC trailers are refused by older servers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with s3_errors("storage", endpoint_url or "https://s3.amazonaws.com"):
        session = Session(profile_name=profile)
        options: dict[str, Any] = {"region_name": region or session.region_name}
        if endpoint_url and not options["region_name"]:
            # Other servers have no regions, but a signature needs one.
            options["region_name"] = "us-east-1"
        return session.client(
            "s3", endpoint_url=endpoint_url, verify=ca_bundle, config=config, **options
        )


def unbroken(action: Callable[[], T], *, attempts: int = ATTEMPTS) -> T:
    """Repeat a read whose answer breaks off on its way, with pauses of 0.5, 1, 2, ... s."""
    for attempt in range(attempts - 1):
        try:
            return action()
        except _BROKEN_OFF as error:
            if _never_connected(error):
                raise
            time.sleep(0.5 * 2**attempt)
    return action()


def _never_connected(error: BotoCoreError) -> bool:
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError, SSLError
    from botocore.exceptions import ConnectionError as NoConnection

    if isinstance(error, SSLError):
        return True
    broken_off = isinstance(error, ConnectionClosedError | ReadTimeoutError)
    return isinstance(error, NoConnection) and not broken_off
