"""`ftctl download` from a folder and from a real S3 server, as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.contract.checksum import file_sha256
from ftctl.contract.operational import StorageConfig
from ftctl.errors import StorageError
from ftctl.runs.published import published_files
from ftctl.storage.base import Store
from ftctl.storage.open import open_store
from tests import report_records as made
from tests.integration.published_run import ADAPTER, LAYOUT, publish, put_adapter

Run = Callable[..., Result]
# Three parts of an S3 transfer, and no two blocks alike.
GGUF = {"home-Q4_1.gguf": os.urandom(2**20) * 40 + b"end", "Modelfile": b"FROM ./home-Q4_1.gguf\n"}


def overrides(config: StorageConfig) -> list[str]:
    """The store as overrides name it."""
    found = [f"storage.url={config.url}"]
    return found + ([f"storage.endpoint_url={config.endpoint_url}"] if config.endpoint_url else [])


@pytest.fixture
def run(store_config: StorageConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `download` of the made-up run in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*args: str) -> Result:
        return CliRunner().invoke(app, ["download", made.RUN_ID, *args, *overrides(store_config)])

    return call


def names(folder: Path) -> list[str]:
    """All files below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestPublished:
    @pytest.fixture(autouse=True)
    def _published(self, store: Store, tmp_path: Path) -> None:
        publish(store, tmp_path / "made", GGUF)

    def test_the_ggufs_come_whole_into_a_folder_named_as_the_run(self, run: Run) -> None:
        done = run()
        folder = Path(made.RUN_ID)
        assert (done.exit_code, names(folder)) == (0, ["Modelfile", "SHA256SUMS", "home-Q4_1.gguf"])
        assert (folder / "home-Q4_1.gguf").read_bytes() == GGUF["home-Q4_1.gguf"]
        assert sorted(done.stdout.splitlines()) == sorted(str(path) for path in folder.iterdir())
        assert done.stderr == "3 files fetched, 41.9 MB\n"
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)

    def test_what_is_there_already_is_left_alone(self, run: Run) -> None:
        run("-o", "models")
        before = Path("models/home-Q4_1.gguf").stat()
        Path("models/Modelfile").write_text("changed")
        done = run("-o", "models", "--json")
        after = Path("models/home-Q4_1.gguf").stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
        told = json.loads(done.stdout)
        assert {item["file"]: item["fetched"] for item in told.pop("files")} == {
            "models/Modelfile": True,
            "models/SHA256SUMS": False,
            "models/home-Q4_1.gguf": False,
        }
        assert told == {"run_id": made.RUN_ID, "published": True, "folder": "models"}
        assert Path("models/Modelfile").read_bytes() == GGUF["Modelfile"]

    @pytest.mark.parametrize(
        ("what", "files"),
        [
            pytest.param("adapter", [f"adapter/{name}" for name in ADAPTER], id="adapter"),
            pytest.param("report", ["report.html"], id="report"),
            pytest.param(
                "all",
                [
                    *("Modelfile", "SHA256SUMS"),
                    *(f"adapter/{name}" for name in ADAPTER),
                    *("eval.json", "home-Q4_1.gguf", "manifest.json", "report.html", "verify.json"),
                ],
                id="all",
            ),
        ],
    )
    def test_takes_what_is_asked_for(self, run: Run, what: str, files: list[str]) -> None:
        done = run("-o", "here", "--what", what, "--quiet")
        assert (done.exit_code, done.stderr, names(Path("here"))) == (0, "", files)

    def test_a_damaged_file_is_refused_and_never_seen(self, run: Run, store: Store) -> None:
        content = bytearray(GGUF["home-Q4_1.gguf"])
        content[20 * 2**20] ^= 1
        store.write(f"{LAYOUT.gguf}home-Q4_1.gguf", bytes(content))
        done = run("-o", "models")
        assert done.exit_code == 5
        assert f"{LAYOUT.gguf}home-Q4_1.gguf: the content has sha256 " in done.stderr
        assert "home-Q4_1.gguf" not in names(Path("models"))

    def test_a_manifest_that_was_changed_is_refused(self, run: Run, store: Store) -> None:
        store.write(LAYOUT.manifest, store.read(LAYOUT.manifest) + b"\n")
        done = run()
        assert done.exit_code == 5
        assert "manifest.json: is not the manifest that was published" in done.stderr
        assert names(Path()) == []

    def test_a_name_that_leaves_the_folder_is_refused(self, store: Store) -> None:
        changed = store.read(LAYOUT.manifest).replace(b"gguf/Modelfile", b"gguf/../../away")
        store.write(LAYOUT.manifest, changed)
        store.write(LAYOUT.success, b"{}")
        with pytest.raises(StorageError, match=r"'gguf/\.\./\.\./away' has a part that starts"):
            published_files(store, made.RUN_ID, "gguf")

    def test_a_folder_in_the_way_is_named(self, run: Run) -> None:
        Path("models/home-Q4_1.gguf").mkdir(parents=True)
        done = run("-o", "models")
        assert done.exit_code == 5
        assert "a file stands where a folder is needed, or the reverse" in done.stderr

    def test_an_unknown_kind_is_refused(self, run: Run) -> None:
        done = run("--what", "weights")
        assert (done.exit_code, done.stderr) == (
            2,
            "error: --what is 'weights'; allowed: gguf, adapter, merged, report, all\n"
            "gguf is the default.\n",
        )


class TestNotPublished:
    @pytest.fixture(autouse=True)
    def _trained(self, store: Store, tmp_path: Path) -> None:
        put_adapter(store, tmp_path / "made")

    def test_it_is_refused(self, run: Run) -> None:
        done = run("--what", "adapter")
        assert (done.exit_code, names(Path())) == (7, [])
        assert done.stderr == (
            f"error: {made.RUN_ID}: the run has published nothing: its files are not proven\n"
            f"See `ftctl status {made.RUN_ID}`; --partial fetches what is complete.\n"
        )

    def test_what_is_complete_can_be_had(self, run: Run) -> None:
        done = run("--what", "all", "--partial", "-o", "part")
        assert (done.exit_code, names(Path("part"))) == (0, [f"adapter/{name}" for name in ADAPTER])
        assert done.stderr == (
            "2 files fetched, 7.0 kB; the run is not published: nothing of it is proven\n"
        )

    def test_what_is_not_complete_cannot(self, run: Run) -> None:
        done = run("--what", "gguf", "--partial")
        assert done.exit_code == 7
        assert "nothing of what was asked for (gguf) is complete yet" in done.stderr


def test_a_download_that_was_killed_goes_on_where_it_was(
    s3_config: StorageConfig, tmp_path: Path
) -> None:
    store = open_store(s3_config)
    content = {"home-Q4_1.gguf": os.urandom(2**20) * 128}
    publish(store, tmp_path / "made", content)
    folder = tmp_path / "models"
    command = [sys.executable, "-m", "ftctl.app", "download", made.RUN_ID, "-o", str(folder)]
    command += overrides(s3_config)
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not _parts(folder):
        time.sleep(0.005)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = _parts(folder)
    assert kept, "it was killed too late to see"
    assert not (folder / "home-Q4_1.gguf").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert file_sha256(folder / "home-Q4_1.gguf") == file_sha256(
        tmp_path / "made" / "gguf" / "home-Q4_1.gguf"
    )
    assert [name for name in names(folder) if name.startswith(".")] == []


def _parts(folder: Path) -> list[str]:
    """Parts that a download's journal has."""
    journals = folder.glob(".home-Q4_1.gguf.*.done") if folder.exists() else ()
    return [line for path in journals for line in path.read_text().splitlines()]
