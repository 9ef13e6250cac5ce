"""The merged model as a transformers folder in the store, as vLLM and others load it."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from ftctl.contract import layout
from ftctl.contract.lineage import FileRecord
from ftctl.storage.base import Store
from ftctl.storage.files import os_errors
from ftctl_trainer.export.companions import write_companions
from ftctl_trainer.export.inputs import Inputs
from ftctl_trainer.export.merge import merged_tensors
from ftctl_trainer.export.weights import stored_dtype, write_weights
from ftctl_trainer.stop import end_if_stopped


def upload_merged(
    store: Store, prefix: str, inputs: Inputs, folder: Path, stop: threading.Event
) -> list[FileRecord]:
    """
    Merge shard by shard, each uploaded and removed before the next; the marker is missing yet.

    Every tensor has the format that it has in the base.

    Args:
        folder: is made for a shard and the small files.
    Raises:
        RunFailedError: a value is beyond the format's range.
        StoppedError: `stop` was set.
    """
    store.delete(layout.marker(prefix))
    tensors = merged_tensors(inputs.base, inputs.adapter)
    write_companions(inputs.base, inputs.tokenizer, tensors, stored_dtype(tensors), folder)
    records = [_moved(store, prefix, path) for path in sorted(folder.iterdir()) if path.is_file()]
    for path in write_weights(tensors, folder, on_tensor=partial(end_if_stopped, stop)):
        records.append(_moved(store, prefix, path))
    return sorted(records, key=lambda record: record.name)


def _moved(store: Store, prefix: str, path: Path) -> FileRecord:
    digest = store.upload(path, prefix + path.name)
    with os_errors(str(path)):
        record = FileRecord(name=path.name, size=path.stat().st_size, sha256=digest)
        path.unlink()
    return record
