"""A run in a store that was published as the convert stage does it, with small files."""

from __future__ import annotations

from pathlib import Path

from ftctl.contract.layout import RunLayout
from ftctl.contract.status import IndexRecord, now
from ftctl.storage.base import Store
from ftctl.storage.index import write_index
from ftctl.storage.lease import RunLease
from ftctl.storage.markers import upload_folder, write_marker
from ftctl.storage.runs import register
from ftctl_trainer.export.publish import Publisher, write_checksums
from tests import report_records as made

LAYOUT = RunLayout(made.RUN_ID)
ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"adapter" * 1000}


def put_adapter(store: Store, folder: Path) -> None:
    """Register the run, and leave its adapter as the train stage does."""
    register(store, made.run_file())
    write_index(store, index_record())
    (folder / "adapter").mkdir(parents=True)
    for name, content in ADAPTER.items():
        (folder / "adapter" / name).write_bytes(content)
    for step in (10, 20):
        checkpoint = folder / f"step-{step}"
        checkpoint.mkdir()
        (checkpoint / "optimizer.pt").write_bytes(bytes(5000))
        prefix = LAYOUT.checkpoint(step)
        write_marker(store, prefix, upload_folder(store, checkpoint, prefix), 1)
    files = upload_folder(store, folder / "adapter", LAYOUT.adapter)
    write_marker(store, LAYOUT.adapter, files, 1)


def publish(store: Store, folder: Path, gguf: dict[str, bytes]) -> None:
    """The whole run: adapter, GGUF files of this content, documents, manifest, `_SUCCESS`."""
    put_adapter(store, folder)
    (folder / "gguf").mkdir()
    for name, content in gguf.items():
        (folder / "gguf" / name).write_bytes(content)
    write_checksums(folder / "gguf")
    store.write(LAYOUT.verification, made.verification().model_dump_json().encode())
    store.write(LAYOUT.evaluation, made.evaluation().model_dump_json().encode())
    lease = RunLease(store, LAYOUT.lease, "publisher")
    lease.acquire()
    publisher = Publisher(made.run_file(), store, lease)
    files = upload_folder(store, folder / "adapter", LAYOUT.adapter)
    marker = write_marker(store, LAYOUT.adapter, files, lease.fence)
    published = {LAYOUT.gguf: publisher.files(folder / "gguf")}
    manifest = publisher.manifest({"adapter": marker}, published)
    store.write(LAYOUT.report, b"<!doctype html>")
    publisher.success(manifest)
    lease.release()


def index_record() -> IndexRecord:
    """What a list shows of the run."""
    return IndexRecord(
        run_id=made.RUN_ID,
        name="quickstart",
        created=made.START,
        state="succeeded",
        stage="convert",
        model="SmolLM2-135M-Instruct",
        method="sft",
        updated=now(),
    )
