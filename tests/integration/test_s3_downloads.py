"""Downloads from a real S3 server that break off: they go on, and nothing is lost."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ftctl.errors import StorageError
from ftctl.storage import s3_download, s3_parts
from ftctl.storage.s3 import S3Store
from ftctl.storage.s3_client import s3_client
from ftctl.storage.s3_parts import PART_BYTES, Part
from tests.integration.s3_server import Proxy, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 2**20


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


def test_parts_are_fetched_little_ahead_of_the_checksum_and_none_is_left_out(
    s3_server: S3Server,
    s3_bucket: str,
    prefix: str,
    big_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)
    digest = store.upload(big_file, "big")
    fetched: list[int] = []
    ahead: list[int] = []
    fetch, add = s3_download._fetch, s3_download._Checksum.add

    def counted(source: Any, etag: str, part: Part, *rest: Any) -> None:
        fetched.append(part.number)
        fetch(source, etag, part, *rest)

    def slow(self: s3_download._Checksum, blocks: Iterator[bytes]) -> None:
        if len(ahead) < 3:
            time.sleep(0.5)  # time enough to fetch all
        ahead.append(len(fetched) - len(ahead))
        add(self, blocks)

    monkeypatch.setattr(s3_parts, "PART_BYTES", MIB)
    monkeypatch.setattr(s3_download, "_fetch", counted)
    monkeypatch.setattr(s3_download._Checksum, "add", slow)
    store.download("big", tmp_path / "out", sha256=digest)

    assert sorted(fetched) == list(range(1, 82))
    assert len(ahead) == 81
    assert max(ahead) == s3_download._AHEAD
    assert (tmp_path / "out").read_bytes() == big_file.read_bytes()


def test_an_interrupted_download_goes_on(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, tmp_path: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    digest = store.upload(big_file, "big")
    target = tmp_path / "new" / "out"

    _interrupt_download(store, target)
    assert not target.exists()
    fetched = _ranges_fetched(client)
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

    _interrupt_download(store, target)
    partial = next(target.parent.glob(".*.part"))
    partial.write_bytes(bytes(partial.stat().st_size))

    with pytest.raises(StorageError, match="the content has sha256"):
        store.download("big", target)
    assert list(target.parent.iterdir()) == []
    store.download("big", target)
    assert target.read_bytes() == big_file.read_bytes()


@pytest.mark.parametrize(
    ("kept", "journal"),
    [
        pytest.param(1, "1\n2", id="a-line-that-was-not-finished"),
        pytest.param(1, None, id="no-journal"),
    ],
)
def test_only_parts_that_the_journal_names_are_taken_as_there(
    s3_server: S3Server,
    s3_bucket: str,
    prefix: str,
    big_file: Path,
    tmp_path: Path,
    kept: int,
    journal: str | None,
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    digest = store.upload(big_file, "big")
    target = tmp_path / "new" / "out"

    _interrupt_download(store, target)
    partial = next(target.parent.glob(".*.part"))
    content = big_file.read_bytes()[: kept * PART_BYTES]
    partial.write_bytes(content + bytes(big_file.stat().st_size - len(content)))
    record = partial.with_suffix(".done")
    record.unlink()
    if journal is not None:
        record.write_text(journal)
    fetched = _ranges_fetched(client)
    store.download("big", target, sha256=digest)

    assert target.read_bytes() == big_file.read_bytes()
    assert f"bytes={PART_BYTES}-{2 * PART_BYTES - 1}" in fetched
    assert (f"bytes=0-{PART_BYTES - 1}" in fetched) == (journal is None)


def test_an_object_that_is_replaced_while_it_is_fetched_is_told(
    s3_server: S3Server, s3_bucket: str, prefix: str, big_file: Path, tmp_path: Path
) -> None:
    client = s3_client(endpoint_url=s3_server.endpoint_url)
    store = S3Store(client, s3_bucket, prefix)
    store.upload(big_file, "big")
    other = tmp_path / "other.bin"
    other.write_bytes(os.urandom(big_file.stat().st_size))
    writer = S3Store(s3_client(endpoint_url=s3_server.endpoint_url), s3_bucket, prefix)
    lock, replaced = threading.Lock(), threading.Event()

    def replace(params: dict[str, object], **_: object) -> None:
        with lock:
            if not replaced.is_set():
                writer.upload(other, "big")
                replaced.set()

    client.meta.events.register("provide-client-params.s3.GetObject", replace)
    with pytest.raises(StorageError) as caught:
        store.download("big", tmp_path / "new" / "out")

    assert caught.value.what == "something else wrote this object at the same time"
    assert not (tmp_path / "new" / "out").exists()


def _interrupt_download(store: S3Store, target: Path) -> None:
    """Break a download of `big` off once its first part is there."""

    def interrupt(size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.download("big", target, progress=interrupt)


def _ranges_fetched(client: S3Client) -> list[str]:
    """The ranges that are asked for from now on, as they are asked for."""
    fetched: list[str] = []
    client.meta.events.register(
        "provide-client-params.s3.GetObject", lambda params, **_: fetched.append(params["Range"])
    )
    return fetched
