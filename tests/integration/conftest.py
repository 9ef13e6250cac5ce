"""Real components for the tests: stores in a folder and on an S3 server of their own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from tests.integration.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, running_server
from tests.integration.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model; made once, about a second."""
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model of every architecture that has fast layers: its folder, by name."""
    from tests.integration.fast_models import made_models

    return made_models(tmp_path_factory)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server with conditional writes and real signatures; takes 1-3 s, once."""
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's keys in the environment, and nothing of the AWS settings of this machine."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def s3_bucket(s3_server: S3Server, s3_env: None) -> str:
    """A bucket on the server; one for all tests, since each costs the server volumes."""
    return BUCKET


@pytest.fixture
def prefix() -> str:
    """A prefix of the bucket that no other test has."""
    return uuid.uuid4().hex


@pytest.fixture
def s3_config(s3_server: S3Server, s3_bucket: str, prefix: str) -> StorageConfig:
    """A store of its own for the test, on the S3 server."""
    url = f"s3://{s3_bucket}/{prefix}/deep"
    return StorageConfig(url=url, endpoint_url=s3_server.endpoint_url)


@pytest.fixture(params=["folder", "s3"])
def store_config(request: pytest.FixtureRequest, tmp_path: Path) -> StorageConfig:
    """Both kinds of store, one after the other; the S3 server starts only when it is needed."""
    if request.param == "s3":
        config: StorageConfig = request.getfixturevalue("s3_config")
        return config
    return StorageConfig(url=str(tmp_path / "store"))


@pytest.fixture
def store(store_config: StorageConfig) -> Store:
    """An empty store."""
    return open_store(store_config)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """Random bytes of several parts of a transfer: 80 MiB and one."""
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(80 * 2**20 + 1))
    return path
