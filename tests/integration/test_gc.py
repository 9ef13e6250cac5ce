"""`ftctl gc` in a folder and on a real S3 server: what goes, and above all what stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner, Result

from ftctl.app import app
from ftctl.contract.layout import DatasetLayout, ModelLayout, RunLayout, base_evaluation
from ftctl.contract.operational import StorageConfig
from ftctl.contract.status import now
from ftctl.errors import RunFailedError
from ftctl.runs.leftovers import Leftover, find_leftovers, remove, whole_run
from ftctl.storage.base import Store
from ftctl.storage.folder import FolderStore
from ftctl.storage.lease import LeaseRecord, RunLease
from ftctl.storage.s3 import S3Store
from ftctl.storage.tombstones import write_tombstone
from tests import report_records as made
from tests.integration.published_run import LAYOUT, publish, put_adapter

Run = Callable[..., Result]
LATER = timedelta(days=2)
GGUF = {"home-Q4_1.gguf": b"weights" * 1000}


@pytest.fixture
def run(store_config: StorageConfig, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command where no cluster is known."""
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    place = [f"storage.url={store_config.url}"]
    if store_config.endpoint_url:
        place.append(f"storage.endpoint_url={store_config.endpoint_url}")
    return lambda *args: CliRunner().invoke(app, ["gc", *args, *place])


def keys(store: Store) -> list[str]:
    """All keys of the store."""
    return [item.key for item in store.list()]


def leftovers(store: Store, **options: bool) -> list[tuple[str, str]]:
    """What could go, all ages."""
    found = find_leftovers(store, before=now() + LATER, **options)
    return [(item.kind, item.of) for item in found]


def break_off(store: Store, key: str) -> None:
    """Leave what a killed writer leaves."""
    if isinstance(store, FolderStore):
        folder = Path(store.url) / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / f".{'a' * 32}.tmp").write_bytes(bytes(100))
        return
    remote = cast(S3Store, store)
    target = remote._object(key)
    upload = target.client.create_multipart_upload(**target.address)["UploadId"]
    target.client.upload_part(**target.address, UploadId=upload, PartNumber=1, Body=bytes(100))


class TestCheckpoints:
    def test_of_a_published_run_go_and_its_result_stays(
        self, store: Store, run: Run, tmp_path: Path
    ) -> None:
        publish(store, tmp_path / "made", GGUF)
        before = keys(store)
        done = run("--store", "--older-than", "0", "--yes")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.splitlines()[1].split()[:4] == ["store", "checkpoints", made.RUN_ID, "4"]
        assert keys(store) == [key for key in before if not key.startswith(LAYOUT.checkpoints)]

    def test_of_what_ended_just_now_stay(self, store: Store, run: Run, tmp_path: Path) -> None:
        publish(store, tmp_path / "made", GGUF)
        before = keys(store)
        done = run("--store", "--yes")
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "nothing to remove\n")
        assert keys(store) == before

    def test_of_a_run_that_may_go_on_stay(self, store: Store, tmp_path: Path) -> None:
        put_adapter(store, tmp_path / "made")
        assert leftovers(store) == []

    @pytest.mark.parametrize("kind", ["cancelled", "failed"])
    def test_of_a_run_that_was_ended_go(self, store: Store, tmp_path: Path, kind: str) -> None:
        put_adapter(store, tmp_path / "made")
        write_tombstone(store, LAYOUT, "cancelled" if kind == "cancelled" else "failed", "")
        assert leftovers(store) == [("checkpoints", made.RUN_ID)]

    def test_of_a_run_that_somebody_works_on_stay(self, store: Store, tmp_path: Path) -> None:
        put_adapter(store, tmp_path / "made")
        write_tombstone(store, LAYOUT, "cancelled", "")
        lease = RunLease(store, LAYOUT.lease, "elsewhere/1/2/3")
        lease.acquire()
        try:
            assert leftovers(store) == []
        finally:
            lease.release()
        assert leftovers(store) == [("checkpoints", made.RUN_ID)]

    @pytest.mark.parametrize(
        ("content", "free"),
        [
            pytest.param(LeaseRecord(holder="a", expires=1.0, fence=1).model_dump_json(), True,
                         id="expired"),
            pytest.param("{", False, id="unreadable"),
        ],
    )  # fmt: skip
    def test_follow_the_lease(self, store: Store, tmp_path: Path, content: str, free: bool) -> None:
        put_adapter(store, tmp_path / "made")
        write_tombstone(store, LAYOUT, "cancelled", "")
        store.write(LAYOUT.lease, content.encode())
        assert bool(leftovers(store)) is free

    def test_of_a_run_that_was_resumed_meanwhile_are_not_removed(
        self, store: Store, tmp_path: Path
    ) -> None:
        put_adapter(store, tmp_path / "made")
        write_tombstone(store, LAYOUT, "cancelled", "")
        (found,) = find_leftovers(store, before=now() + LATER)
        lease = RunLease(store, LAYOUT.lease, "elsewhere/1/2/3")
        lease.acquire()
        try:
            with pytest.raises(RunFailedError, match="elsewhere/1/2/3 works on the run"):
                remove(store, found)
        finally:
            lease.release()
        assert store.stat(found.keys[0]) is not None


class TestHalfWritten:
    def test_goes_and_nothing_else_does(self, store: Store, run: Run, tmp_path: Path) -> None:
        publish(store, tmp_path / "made", GGUF)
        run("--store", "--older-than", "0", "--yes")
        before = keys(store)
        break_off(store, f"{LAYOUT.gguf}home-Q8_0.gguf")
        told = json.loads(run("--store", "--older-than", "0", "--yes", "--json").stdout)
        assert told == {
            "cluster": [],
            "store": [{"kind": "half-written", "of": made.RUN_ID, "files": 1, "size": 100}],
        }
        assert list(store.unfinished()) == []
        assert keys(store) == before

    def test_stays_while_somebody_works_on_the_run(self, store: Store, tmp_path: Path) -> None:
        put_adapter(store, tmp_path / "made")
        break_off(store, f"{LAYOUT.adapter}adapter_model.safetensors")
        lease = RunLease(store, LAYOUT.lease, "elsewhere/1/2/3")
        lease.acquire()
        try:
            assert leftovers(store) == []
        finally:
            lease.release()
        assert leftovers(store) == [("half-written", made.RUN_ID)]

    def test_stays_while_it_is_new(self, store: Store) -> None:
        break_off(store, "models/abc/model.safetensors")
        assert find_leftovers(store, before=now() - timedelta(hours=1)) == []

    def test_of_another_prefix_is_not_ours(self, store: Store, store_config: StorageConfig) -> None:
        from ftctl.storage.open import open_store

        break_off(store, "models/abc/model.safetensors")
        beside = open_store(store_config.model_copy(update={"url": f"{store_config.url}-beside"}))
        assert list(beside.unfinished()) == []
        assert [item.key.split("/")[0] for item in store.unfinished()] == ["models"]

    def test_other_hidden_files_of_a_folder_are_not_touched(self, tmp_path: Path) -> None:
        store = FolderStore(tmp_path)
        store.write("a", b"")
        (tmp_path / ".notes.tmp").write_text("mine")
        assert list(store.unfinished()) == []


class TestUnreferenced:
    def test_data_and_models_that_no_run_names_go_when_asked(
        self, store: Store, run: Run, tmp_path: Path
    ) -> None:
        publish(store, tmp_path / "made", GGUF)
        used = made.run_file()
        mine = [
            DatasetLayout(used.data.digest).record,
            f"{ModelLayout(used.model.revision).root}model.gguf",
            base_evaluation(used.data.digest, "a" * 64),
        ]
        others = [
            DatasetLayout("b" * 64).split("train"),
            DatasetLayout("b" * 64).record,
            f"{ModelLayout('c' * 64).root}model.gguf",
            base_evaluation("b" * 64, "a" * 64),
        ]
        for key in (*mine, *others):
            store.write(key, b"content")
        run("--store", "--older-than", "0", "--yes")
        assert {*mine, *others} <= set(keys(store))
        assert leftovers(store, unreferenced=True) == [
            ("dataset", "b" * 64),
            ("evaluation", "b" * 64),
            ("model", "c" * 64),
        ]
        done = run("--store", "--unreferenced", "--older-than", "0", "--yes")
        assert done.exit_code == 0
        assert set(mine) <= set(keys(store))
        assert not set(others) & set(keys(store))

    def test_needs_the_store(self, run: Run) -> None:
        done = run("--unreferenced")
        assert (done.exit_code, done.stderr) == (
            2,
            "error: --unreferenced is about the store\nSay --store too.\n",
        )


class TestNamedRuns:
    def test_a_named_run_goes_whole_with_its_result(
        self, store: Store, run: Run, tmp_path: Path
    ) -> None:
        publish(store, tmp_path / "made", GGUF)
        store.write(RunLayout("other-0123456789ab").config, b"{}")
        done = run(made.RUN_ID, "--store", "--yes")
        assert done.exit_code == 0
        assert done.stdout.splitlines()[1].split()[:3] == ["store", "run", made.RUN_ID]
        assert keys(store) == [RunLayout("other-0123456789ab").config]

    def test_it_is_gone_from_lists_and_not_trusted_before_its_files_go(
        self, store: Store, tmp_path: Path
    ) -> None:
        publish(store, tmp_path / "made", GGUF)
        found: Leftover = whole_run(store, made.RUN_ID)
        assert found.keys[0].startswith("index/")
        assert found.keys[1] == LAYOUT.success
        assert found.keys[-1] == LAYOUT.lease

    def test_one_that_somebody_works_on_is_refused(
        self, store: Store, run: Run, tmp_path: Path
    ) -> None:
        put_adapter(store, tmp_path / "made")
        lease = RunLease(store, LAYOUT.lease, "elsewhere/1/2/3")
        lease.acquire()
        try:
            done = run(made.RUN_ID, "--store", "--yes")
        finally:
            lease.release()
        assert done.exit_code == 7
        assert "elsewhere/1/2/3 works on the run" in done.stderr


class TestQuestions:
    def test_nothing_goes_without_an_answer(self, store: Store, run: Run, tmp_path: Path) -> None:
        publish(store, tmp_path / "made", GGUF)
        before = keys(store)
        done = run("--store", "--older-than", "0")
        assert (done.exit_code, keys(store)) == (2, before)
        assert done.stdout.splitlines()[0].split() == ["where", "what", "of", "files", "size"]
        assert done.stderr == (
            "error: Remove all of this? Nobody can answer: this is no terminal\n"
            "Say --yes to go on without the question, or --dry-run to see the plan.\n"
        )

    def test_a_dry_run_only_shows_the_plan(self, store: Store, run: Run, tmp_path: Path) -> None:
        publish(store, tmp_path / "made", GGUF)
        before = keys(store)
        done = run("--store", "--older-than", "0", "--dry-run", "--json")
        told = json.loads(done.stdout)["store"]
        assert (done.exit_code, keys(store)) == (0, before)
        assert [(item["kind"], item["files"]) for item in told] == [("checkpoints", 4)]

    @pytest.mark.parametrize("age", ["week", "-1d", "1.5h", ""])
    def test_an_age_that_is_none_is_refused(self, run: Run, age: str) -> None:
        done = run("--store", f"--older-than={age}")
        assert (done.exit_code, done.stderr) == (
            2,
            f"error: --older-than is {age!r}, which is no age\nWrite 30min, 12h, 7d, or 0.\n",
        )

    def test_without_a_cluster_and_without_store_there_is_nothing_to_tidy(self, run: Run) -> None:
        done = run("--yes")
        assert done.exit_code == 6
        assert "there is no kubeconfig" in done.stderr
