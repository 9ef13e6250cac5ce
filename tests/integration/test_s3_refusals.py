"""What a real S3 server refuses, or cannot be asked, and what is said of it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.errors import StorageError
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from tests.integration.s3_server import SECRET_KEY, Proxy, S3Server, free_ports

ACTIONS: dict[str, Callable[[Store, Path], object]] = {
    "read": lambda store, path: store.read("x"),
    "range": lambda store, path: store.read_range("x", 0, 1),
    "write": lambda store, path: store.write("x", b"1"),
    "create": lambda store, path: store.write("x", b"1", if_absent=True),
    "stat": lambda store, path: store.stat("x"),
    "list": lambda store, path: list(store.list()),
    "delete": lambda store, path: store.delete("x"),
    "upload": lambda store, path: store.upload(path, "x"),
    "download": lambda store, path: store.download("x", path),
}
NO_BODY = ("stat", "download")


@pytest.mark.parametrize("action", ACTIONS)
def test_wrong_keys_are_named_and_kept_secret(
    action: str, s3_config: StorageConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    (tmp_path / "x").write_bytes(b"1")
    want = "access denied" if action in NO_BODY else "secret key does not belong"

    with pytest.raises(StorageError, match=want) as caught:
        ACTIONS[action](open_store(s3_config), tmp_path / "x")
    assert caught.value.hint is not None
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
    assert (tmp_path / "x").read_bytes() == b"1"


def test_an_unknown_access_key_is_named(
    s3_config: StorageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")

    with pytest.raises(StorageError, match="does not know the access key") as caught:
        open_store(s3_config).write("x", b"1")
    assert SECRET_KEY not in str(caught.value)


@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "delete"])
def test_a_missing_bucket_is_named(
    action: str, s3_server: S3Server, s3_env: None, tmp_path: Path
) -> None:
    config = StorageConfig(url="s3://no-such-bucket/x", endpoint_url=s3_server.endpoint_url)
    (tmp_path / "x").write_bytes(b"1")

    with pytest.raises(StorageError, match="no such bucket") as caught:
        ACTIONS[action](open_store(config), tmp_path / "x")
    assert str(caught.value.where).startswith("s3://no-such-bucket/x/")
    assert caught.value.hint == "Create it, or correct storage.url."


@pytest.mark.parametrize("action", ACTIONS)
def test_no_credentials(
    action: str, s3_config: StorageConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "x").write_bytes(b"1")

    with pytest.raises(StorageError, match="there are no credentials") as caught:
        ACTIONS[action](open_store(s3_config), tmp_path / "x")
    assert "AWS_ACCESS_KEY_ID" in str(caught.value.hint)


@pytest.mark.parametrize("action", ACTIONS)
def test_no_server(action: str, s3_env: None, tmp_path: Path) -> None:
    endpoint = f"http://user:pass@127.0.0.1:{free_ports(1)[0]}"
    store = S3Store(s3_client(endpoint_url=endpoint, attempts=1), "bucket")
    (tmp_path / "x").write_bytes(b"1")

    with pytest.raises(StorageError, match=r"cannot be reached \(http://127") as caught:
        ACTIONS[action](store, tmp_path / "x")
    assert "pass@" not in str(caught.value)
    assert "storage.endpoint_url" in str(caught.value.hint)


def test_an_encryption_that_the_server_lacks_is_refused(s3_config: StorageConfig) -> None:
    plain = open_store(s3_config.model_copy(update={"sse": "AES256"}))
    plain.write("x", b"1")
    assert plain.read("x") == b"1"

    client = s3_client(endpoint_url=s3_config.endpoint_url, attempts=1)
    store = S3Store(client, "ftctl-tests", sse="aws:kms:no-key")
    with pytest.raises(StorageError, match="the server"):
        store.write("kms/x", b"1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key in one PEM file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    pem = tmp_path_factory.mktemp("ca") / "ca.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(pem.with_suffix(".key")), "-out", str(pem)]
    subprocess.run([*command.split(), *subject, *files], check=True, capture_output=True)
    return pem


def test_a_private_certificate_authority(
    authority: Path, s3_server: S3Server, s3_bucket: str, prefix: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_suffix(".key"))
    with Proxy(s3_server.port, lambda *_: False, tls=context) as proxy:
        url = f"s3://{s3_bucket}/{prefix}"
        config = StorageConfig(url=url, endpoint_url=proxy.endpoint_url, ca_bundle=str(authority))
        trusting = open_store(config)
        trusting.write("x", b"1")
        assert trusting.read("x") == b"1"

        client = s3_client(endpoint_url=proxy.endpoint_url, attempts=1)
        with pytest.raises(StorageError, match="certificate is not trusted") as caught:
            S3Store(client, s3_bucket, prefix).read("x")
        assert caught.value.hint == "Set storage.ca_bundle."
