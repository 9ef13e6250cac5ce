"""What goes wrong between us and a real S3 server, and that nothing is lost by it."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError, Store
from ftctl.storage.open import open_store
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from tests.integration.s3_server import SECRET_KEY, Proxy, S3Server, free_ports

MIB = 2**20

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


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(80 * MIB + 1))
    return path


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


def test_a_download_goes_on_when_answers_break_off(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, tmp_path: Path
) -> None:
    direct = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)
    digest = direct.upload(big_file, "big")
    moved: list[int] = []
    cut: set[int] = set()

    def cut_three(number: int, answers: bool, size: int) -> bool:
        if answers and size > 5 * MIB and len(cut) < 3:
            cut.add(number)
        return answers and number in cut

    with Proxy(s3_server.port, cut_three) as proxy:
        store = S3Store(s3_client(endpoint_url=proxy.endpoint_url), s3_bucket, prefix)
        store.download("big", tmp_path / "out", sha256=digest, progress=moved.append)

    assert len(cut) == 3
    assert (tmp_path / "out").read_bytes() == big_file.read_bytes()
    assert sum(moved) == big_file.stat().st_size


def test_an_upload_goes_on_when_connections_break(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    moved: list[int] = []
    cut: set[int] = set()

    def cut_three(number: int, answers: bool, size: int) -> bool:
        if not answers and size > 5 * MIB and len(cut) < 3:
            cut.add(number)
        return number in cut

    with Proxy(s3_server.port, cut_three) as proxy:
        store = S3Store(s3_client(endpoint_url=proxy.endpoint_url), s3_bucket, prefix)
        store.upload(big_file, "big", progress=moved.append)

    assert len(cut) == 3
    direct = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)
    assert direct.read("big") == big_file.read_bytes()
    assert sum(moved) == big_file.stat().st_size


def test_a_conditional_write_whose_answer_was_lost_has_won(
    s3_server: S3Server, s3_bucket: str, prefix: str
) -> None:
    def drop_first_answer(number: int, answers: bool, size: int) -> bool:
        # More than the `100 Continue` that lets the body through: the write is done by then.
        return answers and number == 0 and size > 30

    with Proxy(s3_server.port, drop_first_answer) as proxy:
        store = S3Store(s3_client(endpoint_url=proxy.endpoint_url), s3_bucket, prefix)
        etag = store.write("lease", b"mine", if_absent=True)
        assert store.read_tagged("lease") == (b"mine", etag)
    assert proxy.connections > 1
    with pytest.raises(ConflictError):
        S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix).write(
            "lease", b"mine", if_absent=True
        )


UPLOAD_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client

endpoint, bucket, prefix, path = sys.argv[1:]
lock, moved = threading.Lock(), 0

def progress(size):
    global moved
    with lock:
        moved += 1
        if moved == 3:
            print("three parts", flush=True)
            threading.Event().wait()

store = S3Store(s3_client(endpoint_url=endpoint), bucket, prefix)
store.upload(Path(path), "big", progress=progress)
"""


def test_a_killed_upload_goes_on_with_the_parts_that_are_there(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    store.write("big", b"the old object")
    arguments = [s3_server.endpoint_url, s3_bucket, prefix, str(big_file)]
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOAD_UNTIL_KILLED, *arguments],
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"three parts\n"
        process.kill()
    assert store.read("big") == b"the old object"

    sent: list[int] = []
    client.meta.events.register(
        "provide-client-params.s3.UploadPart",
        lambda params, **_: sent.append(params["PartNumber"]),
    )
    moved: list[int] = []
    store.upload(big_file, "big", progress=moved.append)

    assert len(sent) <= 3
    assert sum(moved) == big_file.stat().st_size
    assert store.read("big") == big_file.read_bytes()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=s3_bucket, Prefix=prefix)


def test_parts_of_another_file_are_sent_again(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    begun = client.create_multipart_upload(Bucket=s3_bucket, Key=f"{prefix}/big")
    for number in (1, 2, 9):
        client.upload_part(
            Bucket=s3_bucket,
            Key=f"{prefix}/big",
            UploadId=begun["UploadId"],
            PartNumber=number,
            Body=os.urandom(5 * MIB),
        )

    digest = store.upload(big_file, "big")

    assert store.read("big") == big_file.read_bytes()
    store.download("big", big_file.with_name("out"), sha256=digest)


def test_an_upload_that_another_ended_begins_anew(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    moved: list[int] = []

    def end_it(size: int) -> None:
        if not moved:
            for upload in client.list_multipart_uploads(Bucket=s3_bucket, Prefix=prefix)["Uploads"]:
                client.abort_multipart_upload(
                    Bucket=s3_bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        moved.append(size)

    store.upload(big_file, "big", progress=end_it)

    assert store.read("big") == big_file.read_bytes()
    assert sum(moved) == big_file.stat().st_size


def test_an_interrupted_download_goes_on(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, tmp_path: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    digest = store.upload(big_file, "big")
    target = tmp_path / "new" / "out"

    def interrupt(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.download("big", target, progress=interrupt)
    assert not target.exists()
    fetched: list[str] = []
    client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: fetched.append(params["Range"])
    )
    moved: list[int] = []
    store.download("big", target, sha256=digest, progress=moved.append)

    assert len(fetched) < 6
    assert sum(moved) == big_file.stat().st_size
    assert target.read_bytes() == big_file.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_the_checksum_that_the_server_keeps_is_verified(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, tmp_path: Path
) -> None:
    """What an earlier attempt left is damaged on the disk; no sha256 is given."""
    store = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)
    store.upload(big_file, "big")
    target = tmp_path / "new" / "out"

    def interrupt(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.download("big", target, progress=interrupt)
    partial = next(target.parent.glob(".*.part"))
    partial.write_bytes(bytes(partial.stat().st_size))

    with pytest.raises(StorageError, match="the content has sha256"):
        store.download("big", target)
    assert list(target.parent.iterdir()) == []
    store.download("big", target)
    assert target.read_bytes() == big_file.read_bytes()


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
