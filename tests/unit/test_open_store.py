"""Which store a URL opens. Nothing is read or written by opening one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftctl.contract.operational import StorageConfig
from ftctl.errors import ConfigError, StorageError
from ftctl.storage.folder import FolderStore
from ftctl.storage.open import open_store
from ftctl.storage.s3 import S3Store


@pytest.mark.parametrize(
    ("url", "default", "want"),
    [
        pytest.param("/data/runs", None, "/data/runs", id="path"),
        pytest.param("runs", None, str(Path.cwd() / "runs"), id="relative"),
        pytest.param("~/runs", None, str(Path.home() / "runs"), id="home"),
        pytest.param("file:///data/my%20runs", None, "/data/my runs", id="url"),
        pytest.param("file://localhost/data", None, "/data", id="localhost"),
        pytest.param(None, "models", str(Path.cwd() / "models"), id="default"),
        pytest.param("/data", "models", "/data", id="url-over-default"),
    ],
)
def test_a_path_opens_a_folder(url: str | None, default: str | None, want: str) -> None:
    store = open_store(StorageConfig(url=url), default=default)

    assert isinstance(store, FolderStore)
    assert store.url == want


@pytest.mark.parametrize(
    ("url", "want"),
    [
        pytest.param("s3://bucket", "s3://bucket", id="bucket"),
        pytest.param("s3://bucket/", "s3://bucket", id="slash"),
        pytest.param("s3://bucket/a/b/", "s3://bucket/a/b", id="prefix"),
        pytest.param("S3://bucket/a", "s3://bucket/a", id="capital"),
    ],
)
def test_an_s3_url_opens_a_bucket(url: str, want: str) -> None:
    store = open_store(StorageConfig(url=url, endpoint_url="http://127.0.0.1:1"))

    assert isinstance(store, S3Store)
    assert store.url == want


@pytest.mark.parametrize(
    ("config", "where", "match"),
    [
        pytest.param({}, "storage.url", "no store is named", id="none"),
        pytest.param({"url": "gs://b"}, "storage.url", "gs:// is not known", id="scheme"),
        pytest.param({"url": "file://host/x"}, "storage.url", "names no folder", id="host"),
        pytest.param({"url": "s3:///x"}, "storage.url", "names no bucket", id="no-bucket"),
        pytest.param({"url": "s3://k:hunter2@b/x"}, "storage.url", "holds a user", id="secret"),
        pytest.param(
            {"url": "s3://b", "endpoint_url": "localhost:9000"},
            "storage.endpoint_url",
            "no http:// or https:// URL",
            id="endpoint",
        ),
        pytest.param(
            {"url": "s3://b", "ca_bundle": "/nonexistent.pem"},
            "storage.ca_bundle",
            "no file /nonexistent.pem",
            id="ca",
        ),
        pytest.param(
            {"url": "s3://b", "endpoint_url": "http://x", "sse": "rot13"},
            "storage.sse",
            "'rot13' is no encryption",
            id="sse",
        ),
    ],
)
def test_a_store_that_cannot_be_is_refused(config: dict[str, str], where: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        open_store(StorageConfig.model_validate(config))
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)


def test_an_unknown_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    config = StorageConfig(url="s3://b", profile="nobody")

    with pytest.raises(StorageError, match=r"storage\.profile is not in the AWS config files"):
        open_store(config)
