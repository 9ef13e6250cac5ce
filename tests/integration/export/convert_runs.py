"""Runs that wait for their convert stage, and what it leaves of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftctl.contract.runfile import RunFile
from ftctl.storage.lease import RunLease
from ftctl.storage.markers import upload_folder, write_marker
from ftctl_trainer.context import StageContext
from ftctl_trainer.reporter import StoreReporter
from ftctl_trainer.runner import load_run
from tests.integration.tiny_run import TinyRun

if TYPE_CHECKING:
    from tests.integration.export.conftest import Handoff

LIMITS = {"mean_kl": 0.15, "p99_kl": 1.0, "top1_agreement": 0.5, "perplexity_ratio": 1.25}
QTYPES = ["f16", "q4_1"]
PUBLISHED = [
    "Modelfile", "Modelfile.Q4_1", "SHA256SUMS", "_COMPLETE", "tiny-F16.gguf", "tiny-Q4_1.gguf",
]  # fmt: skip


def handed_over(root: Path, handoff: Handoff, **sections: dict[str, Any]) -> TinyRun:
    """A run whose train stage has left its results in the store."""
    settings: dict[str, dict[str, Any]] = {
        "model": {"qtype": QTYPES},
        "quantize": {"verify": {"thresholds": dict.fromkeys(QTYPES, LIMITS)}},
    }
    for name, values in sections.items():
        settings.setdefault(name, {}).update(values)
    run = TinyRun(root, handoff.base, settings).write()
    for name, folder in (("adapter", handoff.adapter), ("reference", handoff.reference_folder)):
        prefix = f"{run.layout.root}{name}/"
        write_marker(run.store, prefix, upload_folder(run.store, folder, prefix), fence=1)
    run.store.write(run.layout.config, run.file.read_bytes())
    return run


@contextmanager
def stage_context(run: TinyRun, workdir: Path) -> Iterator[StageContext]:
    """What the stage's function takes, under a lease."""
    workdir.mkdir()
    file: RunFile = load_run(run.file)
    with (
        RunLease(run.store, run.layout.lease, "test") as lease,
        StoreReporter(run.store, file, "convert", holder="test", fence=lease.fence) as reporter,
    ):
        yield StageContext(file, run.store, reporter, lease, threading.Event(), workdir, threads=2)


def published_files(run: TinyRun) -> dict[str, bytes]:
    """Published files by name."""
    return {
        item.key.removeprefix(run.layout.gguf): run.store.read(item.key)
        for item in run.store.list(run.layout.gguf)
    }


def is_published(run: TinyRun) -> bool:
    """Whether anything of it was published."""
    done = (run.layout.success, run.layout.manifest, run.layout.report)
    return bool(published_files(run)) or any(run.store.stat(key) for key in done)
