"""Writes to a real S3 server that break off: they go on, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ftctl.errors import StorageError
from ftctl.storage.base import ConflictError
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from ftctl.storage.s3_parts import PART_BYTES, sha256_base64
from tests.integration.s3_server import Proxy, S3Server

if TYPE_CHECKING:
    pass

MIB = 2**20
UPLOAD_UNTIL_KILLED = """
import sys, threading
from pathlib import Path
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from ftctl.storage.s3_parts import PART_BYTES, sha256_base64

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


@pytest.mark.parametrize("size", [5 * MIB, PART_BYTES], ids=["of-another-size", "of-our-size"])
def test_parts_of_another_file_are_sent_again(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, size: int
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
            Body=os.urandom(size),
        )

    digest = store.upload(big_file, "big")

    assert store.read("big") == big_file.read_bytes()
    store.download("big", big_file.with_name("out"), sha256=digest)


def test_the_newest_of_several_unfinished_uploads_is_gone_on_with(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    key = f"{prefix}/big"
    for body in (os.urandom(PART_BYTES), big_file.read_bytes()[:PART_BYTES]):
        begun = client.create_multipart_upload(
            Bucket=s3_bucket, Key=key, ChecksumAlgorithm="SHA256"
        )
        client.upload_part(
            Bucket=s3_bucket,
            Key=key,
            UploadId=begun["UploadId"],
            PartNumber=1,
            Body=body,
            ChecksumSHA256=sha256_base64(body),
        )
        time.sleep(1.1)  # the server's times are whole seconds
    sent: list[int] = []
    client.meta.events.register(
        "provide-client-params.s3.UploadPart",
        lambda params, **_: sent.append(params["PartNumber"]),
    )
    S3Store(client, s3_bucket, prefix).upload(big_file, "big")
    assert sorted(sent) == [2, 3, 4, 5, 6]


def test_a_file_that_changes_while_it_is_uploaded_is_told(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    store = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)

    def grow(size: int) -> None:
        with big_file.open("ab") as file:
            file.write(b"x")

    with pytest.raises(StorageError, match="the file changed while it was uploaded") as caught:
        store.upload(big_file, "big", progress=grow)
    assert caught.value.where == str(big_file)


def test_an_upload_that_another_ended_begins_anew(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    moved: list[int] = []

    def end_it(size: int) -> None:
        if not moved:
            # Two senders may come here at once.
            found = client.list_multipart_uploads(Bucket=s3_bucket, Prefix=prefix)
            for upload in found.get("Uploads", []):
                client.abort_multipart_upload(
                    Bucket=s3_bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
        moved.append(size)

    store.upload(big_file, "big", progress=end_it)

    assert store.read("big") == big_file.read_bytes()
    assert sum(moved) == big_file.stat().st_size
