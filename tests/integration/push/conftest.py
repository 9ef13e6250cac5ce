"""A published run with small files, on its way to a hub or a registry on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftctl.contract.runfile import RunFile
from ftctl.storage.folder import FolderStore
from ftctl.storage.lease import RunLease
from ftctl_trainer.context import StageContext
from ftctl_trainer.reporter import StoreReporter
from ftctl_trainer.stages.convert import run_convert
from tests import report_records as made
from tests.integration.published_run import LAYOUT, publish
from tests.integration.push.hub_server import TOKEN, Hub, hub_server

GGUF = {
    "home-Q4_1.gguf": b"four bits" * 1000,
    "home-Q8_0.gguf": b"eight bits" * 1000,
    "Modelfile": b"FROM ./home-Q4_1.gguf\n",
}
Push = Callable[..., None]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's logins; nothing goes anywhere else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "OCI_USERNAME", "OCI_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with the published run."""
    found = FolderStore(tmp_path / "store")
    publish(found, tmp_path / "made", GGUF)
    return found


@pytest.fixture
def push(store: FolderStore, tmp_path: Path) -> Push:
    """Run the convert stage of the published run with these places to push to."""
    tries = iter(range(9))

    def call(**places: object) -> None:
        run = made.run_file()
        section = run.config.publish.model_copy(update=places)
        config = run.config.model_copy(update={"publish": section})
        run = RunFile.model_validate({**run.model_dump(), "config": config.model_dump()})
        workdir = tmp_path / f"work-{next(tries)}"
        workdir.mkdir()
        with (
            RunLease(store, LAYOUT.lease, "test") as lease,
            StoreReporter(store, run, "convert", holder="test", fence=lease.fence) as reporter,
        ):
            stop = threading.Event()
            run_convert(StageContext(run, store, reporter, lease, stop, workdir, threads=1))

    return call


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, and a token for it in the environment."""
    from huggingface_hub import constants

    # Read when the library is imported. This hub has no Xet storage, as most mirrors.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = Hub()
    with hub_server(found) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
